// One schedule: its figures, the chart by machine, the side panel of a job, and every bar as a row of a table.

import { get } from "./api.js";
import { GanttChart, PRIORITIES, paletteNow } from "./gantt.js";
import { Banner, useAnswer } from "./parts.js";
import { STATES, lateFamilies, planOf, stateOf } from "./plan.js";
import { FigureTiles, Gain, servedBy } from "./figures.js";
import { html, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact-standalone.js";
import { clockOf, count, hours, plural } from "./words.js";

const COLOURINGS = { lateness: "Lateness", family: "Family", priority: "Priority", group: "Setup group" };
const MAX_BEHIND = 6;

export function SchedulePage({ names, clock }) {
  const [id, job] = names;
  const { answer, error, again } = useAnswer(() => get(`v1/schedules/${encodeURIComponent(id)}`), [id]);
  // A decision is readable within a second of its answer; until then it does not exist.
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (error?.status !== 404 || tries >= 8) return undefined;
    const timer = setTimeout(() => { setTries(tries + 1); again(); }, 500);
    return () => clearTimeout(timer);
  }, [error, tries]);
  if (!answer) {
    return error && !(error.status === 404 && tries < 8)
      ? html`<${Banner} error=${error} onRetry=${again} />`
      : html`<p class="hint" aria-live="polite">Reading the schedule …</p>`;
  }
  return html`<h1>Schedule ${answer.request_id ?? id.slice(0, 13)}</h1>
    <p class="hint">${clock.dated(Date.parse(answer.created_at))} · ${count(answer.total_jobs)} jobs on ${count(answer.total_machines)} machines · ${servedBy(answer)}</p>
    <${Banner} error=${error} onRetry=${again} />
    <${FigureTiles} decision=${answer} />
    <${Gain} detail=${answer} />
    <${ChartOfSchedule} key=${id} detail=${answer} clock=${clock} job=${job} />`;
}

/** The chart of a decision with all that belongs to it. On a page of its own the address follows the chosen job. */
export function ChartOfSchedule({ detail, clock: plantClock, job, isPlace = true }) {
  // The zone that the plan was made for may have been another one than the service has today.
  const clock = detail.answer?.zone ? clockOf(detail.answer.zone) : plantClock;
  const plan = useMemo(() => planOf(detail, clock), [detail]);
  const id = detail.schedule_id;
  const why = useAnswer(() => get(`v1/schedules/${encodeURIComponent(id)}/explanation`), [id]);
  if (!plan) return html`<p class="card">Of this decision only the figures were kept, so there is no chart.</p>`;
  return html`<${Warnings} warnings=${detail.answer.warnings} />
    <${Chart} plan=${plan} clock=${clock} id=${id} first=${job} isPlace=${isPlace} explanation=${why.answer} />
    <${LateFamilies} plan=${plan} clock=${clock} id=${id} explanation=${why.answer} error=${why.error} onRetry=${why.again} />
    <${BarTable} plan=${plan} clock=${clock} id=${id} />`;
}

function Warnings({ warnings }) {
  if (!warnings?.length) return null;
  return html`<details class="warning"><summary>${count(warnings.length)} ${warnings.length === 1 ? "warning" : "warnings"} of the service</summary>
    <ul>${warnings.map((warning) => html`<li key=${warning}>${warning}</li>`)}</ul></details>`;
}

function Chart({ plan, clock, id, first, isPlace, explanation }) {
  const canvas = useRef(null);
  const chart = useRef(null);
  const [selected, setSelected] = useState(() => plan.byJob.get(first) ?? null);
  const [hovered, setHovered] = useState(null);
  const [colouring, setColouring] = useState("lateness");
  const [search, setSearch] = useState("");
  const [isLateOnly, setIsLateOnly] = useState(false);
  useEffect(() => {
    const onHover = (bar, event) => setHovered(bar && { bar, x: event.offsetX, y: event.offsetY });
    const made = new GanttChart(canvas.current, clock, { onSelect: setSelected, onHover });
    chart.current = made;
    made.show(plan);
    return () => made.close();
  }, [plan]);
  useEffect(() => chart.current.set({ colouring, search: search.trim().toLowerCase(), isLateOnly }), [plan, colouring, search, isLateOnly]);
  useEffect(() => {
    chart.current.select(selected);
    if (!isPlace) return;
    history.replaceState(null, "", addressOf(id, selected?.job));
    // Replacing the address tells nobody, and a link to the job that it had named would do nothing.
    dispatchEvent(new HashChangeEvent("hashchange"));
  }, [plan, selected]);
  useEffect(() => setSelected((before) => plan.byJob.get(first) ?? before), [first]);
  const found = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    return wanted ? plan.bars.filter((bar) => bar.job.toLowerCase().includes(wanted) || bar.family.toLowerCase().includes(wanted)) : null;
  }, [plan, search]);
  const late = useMemo(() => plan.bars.filter((bar) => bar.late > 0).length, [plan]);
  const searched = (event) => {
    if (event.key === "Enter" && found?.length) setSelected(found[(found.indexOf(selected) + 1) % found.length]);
  };
  return html`<section class="card chart">
    <div class="actions">
      <label>Colour <select value=${colouring} onChange=${(event) => setColouring(event.target.value)}>
        ${Object.entries(COLOURINGS).map(([name, words]) => html`<option key=${name} value=${name}>${words}</option>`)}</select></label>
      <input type="search" placeholder="Job or family" aria-label="Search a job or a family" value=${search}
        onInput=${(event) => setSearch(event.target.value)} onKeyDown=${searched} />
      ${found && html`<span class="hint" aria-live="polite">${count(found.length)} found</span>`}
      <button aria-pressed=${String(isLateOnly)} disabled=${!late} onClick=${() => setIsLateOnly(!isLateOnly)}>${late ? `Late only (${count(late)} jobs)` : "No job is late"}</button>
      <span class="spacer"></span>
      <button onClick=${() => chart.current.zoom(1 / 1.5)} aria-label="Zoom in" title="Zoom in: + or the wheel">+</button>
      <button onClick=${() => chart.current.zoom(1.5)} aria-label="Zoom out" title="Zoom out: − or the wheel">−</button>
      <button onClick=${() => chart.current.whole()} title="The whole plan: 0">Whole plan</button>
    </div>
    <${Legend} colouring=${colouring} />
    <div class="with-panel">
      <div class="canvas">
        <canvas ref=${canvas} tabindex="0" role="application" aria-roledescription="Gantt chart"
          aria-label="Gantt by machine, ${plan.bars.length} bars. Arrow keys walk the bars, plus and minus zoom, Escape closes. The same bars stand in the table below."></canvas>
        ${hovered && html`<${Hint} ...${hovered} clock=${clock} />`}
      </div>
      ${selected && html`<${Panel} bar=${selected} plan=${plan} clock=${clock} explanation=${explanation} onSelect=${setSelected} />`}
    </div>
    <p class="sr" aria-live="polite">${selected && spoken(selected, clock)}</p>
  </section>`;
}

const addressOf = (id, job) => `#/schedules/${encodeURIComponent(id)}${job ? `/${encodeURIComponent(job)}` : ""}`;

function spoken(bar, clock) {
  return `${bar.job} on ${bar.machine}, ${clock.whole(bar.start)} to ${clock.whole(bar.end)}, ${slackWords(bar)}`;
}

function slackWords(bar) {
  if (bar.due === null) return "no due date";
  return bar.late > 0 ? `${hours(bar.late)} late` : `${hours(-bar.late)} of slack`;
}

function Legend({ colouring }) {
  const palette = paletteNow();
  const swatch = (colour, words) => html`<span key=${words} class="swatch"><i style=${{ background: colour }}></i>${words}</span>`;
  const byColouring = {
    lateness: () => STATES.map(({ kind, words }) => swatch(palette[kind], words)),
    priority: () => Object.entries(PRIORITIES).map(([rank, colour]) => swatch(colour, ["high", "normal", "low"][rank - 1])),
    family: () => [html`<span key="family">one colour a family</span>`],
    group: () => [swatch(palette.none, "no setup group"), html`<span key="group">one colour a group</span>`],
  };
  return html`<p class="legend">${byColouring[colouring]()}
    <span class="swatch"><i class="setup"></i>setup</span><span class="swatch"><i class="hatch"></i>closed</span>
    <span class="swatch"><i class="due">▼</i>was due</span><span class="swatch"><i class="important"></i>important</span></p>`;
}

function Hint({ bar, x, y, clock }) {
  return html`<div class="hover" style=${{ left: `${x + 14}px`, top: `${y + 14}px` }}>
    <b>${bar.job}</b><br />${clock.whole(bar.start)} – ${clock.whole(bar.end)}<br />${slackWords(bar)}</div>`;
}

function Panel({ bar, plan, clock, explanation, onSelect }) {
  const why = explanation && [...explanation.late_jobs, ...explanation.jobs_ahead].find((each) => each.job_id === bar.job);
  const route = plan.families.get(bar.family);
  const link = (job) => {
    const target = plan.byJob.get(job);
    return target ? html`<button class="link" onClick=${() => onSelect(target)}>${job}</button>` : job;
  };
  return html`<aside class="panel" aria-label="Job ${bar.job}">
    <button class="quiet close" onClick=${() => onSelect(null)} aria-label="Close">✕</button>
    <h2>${bar.job}</h2>
    <dl>
      <dt>Machine</dt><dd>${bar.machine}</dd>
      <dt>Starts</dt><dd>${clock.whole(bar.start)}</dd>
      <dt>Ends</dt><dd>${clock.whole(bar.end)}</dd>
      <dt>Work</dt><dd>${hours(bar.workingHours)}${bar.setupHours > 0 && `, ${hours(bar.setupHours)} of it setup`}</dd>
      ${bar.pauses.length > 0 && html`<dt>Pauses</dt><dd>${count(bar.pauses.length)}, while its machine is closed</dd>`}
      <dt>Due</dt><dd>${bar.due === null ? "no due date" : clock.whole(bar.due)}</dd>
      ${bar.due !== null && html`<dt>${bar.late > 0 ? "Late" : "Slack"}</dt><dd class=${bar.late > 0 ? "worse" : "better"}>${hours(Math.abs(bar.late))}</dd>`}
      <dt>Priority</dt><dd>${["high", "normal", "low"][bar.priority - 1] ?? bar.priority}${bar.isImportant && ", important"}</dd>
      ${bar.group && html`<dt>Setup group</dt><dd>${bar.group}</dd>`}
    </dl>
    ${why && html`<${Why} why=${why} link=${link} />`}
    ${!why && explanation && bar.late > 0 && html`<p class="hint">The service has no account of this job.</p>`}
    ${route.length > 1 && html`<h3>Route of ${bar.family}</h3><ol>${route.map((each) => html`<li key=${each.job}>
      ${each === bar ? html`<b>${each.job}</b>` : link(each.job)} <span class="hint">${each.machine}, ${clock.whole(each.start)}</span></li>`)}</ol>`}
  </aside>`;
}

const CAUSES = [
  ["previous_sequence_hours", "the jobs before it in its family"],
  ["material_hours", "material"],
  ["machine_hours", "a busy machine"],
  ["closed_hours", "breaks and closed hours"],
  ["idle_hours", "a gap left free"],
  ["setup_hours", "setup"],
  ["processing_hours", "processing"],
];

const WAITS = CAUSES.slice(1, 5);

function Why({ why, link }) {
  const parts = CAUSES.map(([field, words]) => ({ words, value: why[field] ?? 0 })).filter(({ value }) => value > 0.005);
  const most = Math.max(...parts.map(({ value }) => value));
  return html`<h3>${why.late_hours ? "Why it is late" : "Where its time goes"}</h3>
    ${why.message && html`<p>${why.message}</p>`}
    <table class="causes"><tbody>${parts.map(({ words, value }) => html`<tr key=${words}><td>${words}</td>
      <td><meter min="0" max=${most} value=${value}></meter></td><td class="number">${hours(value)}</td></tr>`)}</tbody></table>
    ${why.behind.length > 0 && html`<p>Waited behind ${why.behind.slice(-MAX_BEHIND).map((each, index) => html`<span key=${each.job_id}>${index > 0 && ", "}${link(each.job_id)} <span class="hint">(${hours(each.hours)})</span></span>`)}
      ${why.behind_count > MAX_BEHIND && html` <span class="hint">and ${count(why.behind_count - Math.min(MAX_BEHIND, why.behind.length))} more</span>`}</p>`}`;
}

/** Families that end late, the latest first, with what the service says of the worst job. */
export function LateFamilies({ plan, clock, id, explanation, error, onRetry, limit = 50 }) {
  const late = useMemo(() => lateFamilies(plan), [plan]);
  const steps = useMemo(() => stepsOf(explanation, plan), [plan, explanation]);
  if (!late.length) return html`<section class="card"><h2>Late families</h2><p>None: every family with a due date ends in time.</p></section>`;
  return html`<section class="card"><h2>${count(late.length)} late ${late.length === 1 ? "family" : "families"}</h2>
    <${Banner} error=${error} onRetry=${onRetry} />
    <div class="scroll"><table><thead><tr><th>Family</th><th class="number">Late by</th><th>First cause</th><th>Was due</th><th>Ends</th></tr></thead>
    <tbody>${late.slice(0, limit).map(({ family, worst }) => html`<tr key=${family}>
      <td><a href=${addressOf(id, worst.job)}>${family}</a>${worst.isImportant && " ★"}</td><td class="number worse">${hours(worst.late)}</td>
      <td class="cause">${steps.has(worst.job) ? firstCause(worst.job, steps) : "…"}</td>
      <td class="when">${clock.whole(worst.due)}</td><td class="when">${clock.whole(worst.end)}</td></tr>`)}</tbody></table></div>
    ${late.length > limit && html`<p class="hint">and ${count(late.length - limit)} more</p>`}</section>`;
}

/** The longest wait among the job and those ahead of it in its family, which all held it up. */
function firstCause(worst, steps) {
  let most = { value: 0 };
  for (let step = steps.get(worst); step; step = steps.get(step.ahead)) {
    for (const [field, words] of WAITS) {
      if ((step.why[field] ?? 0) > most.value) most = { value: step.why[field], field, words, why: step.why };
    }
  }
  if (most.value < 0.005) return "too little time for the work itself";
  const { why } = most;
  const what = most.field === "machine_hours" ? `${why.machine_name}, ${why.behind_count === 1 ? "" : "last "}behind ${why.behind.at(-1)?.job_id ?? "its current load"}` : most.words;
  return `${why.job_id} waited ${hours(most.value)} for ${what}`;
}

/** Each explained job with the job ahead of it in its family. */
function stepsOf(explanation, plan) {
  const found = new Map();
  for (const why of [...(explanation?.late_jobs ?? []), ...(explanation?.jobs_ahead ?? [])]) {
    const route = plan.families.get(why.family_id ?? why.job_id) ?? [];
    const place = route.findIndex((bar) => bar.job === why.job_id);
    found.set(why.job_id, { why, ahead: why.previous_job_id ?? route[place - 1]?.job });
  }
  return found;
}

function BarTable({ plan, clock, id }) {
  const [isOpen, setIsOpen] = useState(false);
  return html`<details class="card" onToggle=${(event) => setIsOpen(event.target.open)}>
    <summary>The ${plural(plan.bars.length, "bar", "bars")} as a table</summary>
    ${isOpen && html`<div class="scroll"><table id="bars"><thead><tr><th>Machine</th><th>Job</th><th>Family</th><th>Starts</th><th>Ends</th><th>Due</th><th>State</th></tr></thead>
      <tbody>${plan.bars.map((bar) => html`<tr key=${bar.job}><td>${bar.machine}</td><td><a href=${addressOf(id, bar.job)}>${bar.job}</a></td><td>${bar.family}</td>
        <td class="when">${clock.whole(bar.start)}</td><td class="when">${clock.whole(bar.end)}</td><td class="when">${bar.due === null ? "–" : clock.whole(bar.due)}</td>
        <td class=${stateOf(bar) === "late" ? "worse" : ""}>${slackWords(bar)}</td></tr>`)}</tbody></table></div>`}
  </details>`;
}

