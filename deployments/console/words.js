// Instants by the plant's clock, hours and numbers, as people of the plant write them.

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Formats and calendar arithmetic in one time zone. Instants are milliseconds since 1970. */
export class PlantClock {
  constructor(zone, locale = navigator.language) {
    this.zone = zone;
    const format = (options) => new Intl.DateTimeFormat(locale, { timeZone: zone, ...options });
    const hour = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    this._whole = format({ weekday: "short", day: "numeric", month: "short", ...hour });
    this._dated = format({ day: "numeric", month: "short", year: "numeric", ...hour });
    this._day = format({ weekday: "short", day: "numeric", month: "short" });
    this._time = format(hour);
    this._parts = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit",
      minute: "2-digit", second: "2-digit",
    });
    this._offsets = new Map();
  }

  whole(at) {
    return this._whole.format(at);
  }

  dated(at) {
    return this._dated.format(at);
  }

  day(at) {
    return this._day.format(at);
  }

  time(at) {
    return this._time.format(at);
  }

  /** How far the plant's clock is ahead of UTC at an instant. Offsets change on quarters of an hour alone. */
  offset(at) {
    const quarter = Math.floor(at / (HOUR / 4));
    let found = this._offsets.get(quarter);
    if (found === undefined) {
      const from = quarter * (HOUR / 4);
      const parts = Object.fromEntries(this._parts.formatToParts(from).map((part) => [part.type, Number(part.value)]));
      const local = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second);
      found = local - from;
      this._offsets.set(quarter, found);
    }
    return found;
  }

  /** The instant at which the plant's clock shows `local`, milliseconds as if it were UTC. */
  instant(local) {
    const guess = local - this.offset(local);
    return local - this.offset(guess);
  }

  /** The last midnight of the plant at or before an instant. */
  midnight(at) {
    return this.instant(Math.floor((at + this.offset(at)) / DAY) * DAY);
  }

  /** The midnight that follows the midnight `at`, also where a day has 23 or 25 hours. */
  nextMidnight(at) {
    return this.midnight(at + DAY + 2 * HOUR);
  }

  /** A datetime of a request or an answer; without a zone it is by the plant's clock, a mere date is its end. */
  parse(text) {
    if (text === null || text === undefined || text === "") return null;
    if (/([zZ]|[+-]\d\d:?\d\d)$/.test(text)) return Date.parse(text);
    if (/^\d{4}-\d\d-\d\d$/.test(text)) return this.instant(Date.parse(`${text}T00:00:00Z`) + DAY);
    const local = Date.parse(`${text}Z`);
    return Number.isNaN(local) ? null : this.instant(local);
  }
}

const clocks = new Map();

/** The clock of a zone; each is made once, because its formats are costly. */
export function clockOf(zone) {
  if (!clocks.has(zone)) clocks.set(zone, new PlantClock(zone));
  return clocks.get(zone);
}

const plain = new Intl.NumberFormat(navigator.language, { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat(navigator.language, { maximumFractionDigits: 0 });

export const number = (value) => (value === null || value === undefined ? "–" : plain.format(value));
export const count = (value) => whole.format(value);
export const percent = (value) => (value === null || value === undefined ? "–" : `${plain.format(value)} %`);

/** `2.75` hours as `2 h 45 min`. */
export function hours(value) {
  if (value === null || value === undefined) return "–";
  const minutes = Math.round(Math.abs(value) * 60);
  const parts = [];
  if (minutes >= 60) parts.push(`${whole.format(Math.floor(minutes / 60))} h`);
  if (minutes % 60 || !parts.length) parts.push(`${minutes % 60} min`);
  return (value < 0 ? "−" : "") + parts.join(" ");
}

/** Seconds as `3 days` or `2 h 45 min`. */
export function lapse(seconds) {
  if (seconds >= 172_800) return `${number(seconds / 86_400)} days`;
  return seconds >= 60 ? hours(seconds / 3600) : `${whole.format(seconds)} s`;
}

/** `n` things in words: `plural(1, "day", "days")` is `1 day`. */
export const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many}`;
