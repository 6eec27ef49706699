// A stored decision as a chart needs it: machines in order, bars with their due dates, closed times, families.

const HOUR = 3_600_000;
const TIGHT_HOURS = 4;
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
// Closed times are shown as far as one may look beyond the end of a plan, as a rule.
const MARGIN = 14 * 24 * HOUR;
const MAX_CLOSED = 4000;

/** What `detail`, the answer of GET /v1/schedules/{id}, holds; null when its bodies were not kept. */
export function planOf(detail, clock) {
  const rows = detail.answer?.scheduled_jobs;
  if (!rows?.length) return null;
  const jobs = new Map((detail.request?.jobs ?? []).map((job) => [job.job_id, job]));
  const asked = new Map((detail.request?.machines ?? []).map((machine) => [machine.machine_id, machine]));
  const machines = machinesOf(rows, asked);
  const places = new Map(machines.map((machine, row) => [machine.id, row]));
  const bars = rows.map((row) => barOf(row, jobs.get(row.job_id) ?? {}, places, clock));
  bars.sort((one, other) => one.row - other.row || one.start - other.start);
  const families = new Map();
  for (const bar of bars) {
    if (!families.has(bar.family)) families.set(bar.family, []);
    families.get(bar.family).push(bar);
  }
  for (const members of families.values()) members.sort((one, other) => one.start - other.start);
  const from = Math.min(...startsOf(bars));
  const to = Math.max(...endsOf(bars));
  return {
    machines,
    bars,
    families,
    from,
    to,
    byJob: new Map(bars.map((bar) => [bar.job, bar])),
    closed: closedOf(detail.answer.calendar_used, from, to + MARGIN, clock),
    closedMachines: closuresOf(detail.request?.calendar?.machines ?? [], places, clock),
  };
}

/** Families with their worst job first, those that are late, the latest first. */
export function lateFamilies(plan) {
  const found = [];
  for (const [family, members] of plan.families) {
    const worst = members.reduce((one, other) => ((other.late ?? -1) > (one.late ?? -1) ? other : one));
    if (worst.late > 0) found.push({ family, worst });
  }
  return found.sort((one, other) => other.worst.late - one.worst.late);
}

/** `kind` of a bar by its due date: late, tight, good or none. */
export function stateOf(bar) {
  if (bar.due === null) return "none";
  if (bar.late > 0) return "late";
  return -bar.late < TIGHT_HOURS ? "tight" : "good";
}

export const STATES = [
  { kind: "good", words: "on time" },
  { kind: "tight", words: `less than ${TIGHT_HOURS} h of slack` },
  { kind: "late", words: "late" },
  { kind: "none", words: "no due date" },
];

function machinesOf(rows, asked) {
  const found = new Map();
  for (const [id, machine] of asked) found.set(id, { id, name: machine.machine_name ?? `Machine ${id}`, type: machine.machine_type });
  for (const row of rows) {
    // A request may leave its machines to the plant's data.
    if (!found.has(row.machine_id)) found.set(row.machine_id, { id: row.machine_id, name: row.machine_name, type: null });
    else found.get(row.machine_id).name = row.machine_name;
  }
  return [...found.values()].sort((one, other) => (one.type ?? 0) - (other.type ?? 0) || one.id - other.id);
}

function barOf(row, job, places, clock) {
  const start = Date.parse(row.start_datetime);
  const end = Date.parse(row.end_datetime);
  const pauses = (row.pauses ?? []).map((pause) => [Date.parse(pause.from), Date.parse(pause.to)]);
  const due = clock.parse(job.lcd_date);
  return {
    job: row.job_id,
    family: job.family_id ?? row.job_id,
    sequence: job.sequence ?? null,
    row: places.get(row.machine_id),
    alsoRows: (row.machine_ids ?? []).map((id) => places.get(id)).filter((place) => place !== undefined && place !== places.get(row.machine_id)),
    machine: row.machine_name,
    start,
    end,
    pauses,
    setupEnd: afterWork(start, row.setup_time_included ?? 0, pauses, end),
    setupHours: row.setup_time_included ?? 0,
    workingHours: row.working_hours ?? (end - start) / HOUR,
    due,
    late: due === null ? null : (end - due) / HOUR,
    priority: job.priority ?? 2,
    isImportant: job.is_important ?? false,
    group: job.setup_group ?? null,
  };
}

/** The instant at which `hours` of work are done that begins at `start` and rests in `pauses`. */
function afterWork(start, hours, pauses, end) {
  let at = start;
  let left = hours * HOUR;
  for (const [from, to] of pauses) {
    if (at + left <= from) break;
    left -= Math.max(0, from - at);
    at = to;
  }
  return Math.min(at + left, end);
}

function* startsOf(bars) {
  for (const bar of bars) yield bar.start;
}

function* endsOf(bars) {
  for (const bar of bars) yield bar.end;
}

/** Closed times of the whole plant as [from, to, name], by the calendar that the answer says it assumed. */
function closedOf(calendar, from, to, clock) {
  const found = [];
  if (!calendar) return found;
  const holidays = new Set(calendar.holidays);
  for (let day = clock.midnight(from - 24 * HOUR); day < to && found.length < MAX_CLOSED; day = clock.nextMidnight(day)) {
    const local = day + clock.offset(day);
    const date = new Date(local).toISOString().slice(0, 10);
    if (holidays.has(date)) found.push([day, clock.nextMidnight(day), "holiday"]);
    const name = DAYS[new Date(local).getUTCDay()];
    for (const rest of calendar.breaks) {
      if (!rest.days.includes(name)) continue;
      const [start, end] = [minutesOf(rest.start), minutesOf(rest.end)];
      const length = end > start ? end - start : end + 1440 - start;
      found.push([clock.instant(local + start * 60_000), clock.instant(local + (start + length) * 60_000), rest.name]);
    }
  }
  return found;
}

/** Closed times of single machines: rows with [from, to, reason]. */
function closuresOf(calendars, places, clock) {
  const found = new Map();
  for (const { machine_id: id, unavailable } of calendars) {
    if (!places.has(id)) continue;
    found.set(places.get(id), (unavailable ?? []).map((each) => [clock.parse(each.from), clock.parse(each.to), each.reason ?? "closed"]));
  }
  return found;
}

function minutesOf(text) {
  const [hour, minute] = text.split(":").map(Number);
  return 60 * hour + minute;
}
