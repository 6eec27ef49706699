// The newest decision and the list of decisions; the example plant, and requests of one's own.

import { get, post } from "./api.js";
import { Beside, FigureTiles, servedBy } from "./figures.js";
import { Banner, useAnswer } from "./parts.js";
import { ChartOfSchedule } from "./schedule.js";
import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.js";
import { count, hours, number, percent } from "./words.js";

const SECONDS = 15;
const PAGE = 50;
const EXAMPLE = "plant-170";
const BUDGET_MS = 1000;

export function TodayPage({ who, clock, environment }) {
  const list = useAnswer(() => get("v1/schedules?limit=20"), [], SECONDS);
  const [newest, before] = comparable(list.answer?.schedules ?? []);
  const id = newest?.schedule_id;
  const detail = useAnswer(() => (id ? get(`v1/schedules/${id}`) : Promise.resolve(null)), [id]);
  if (!list.answer) return html`<${Banner} error=${list.error} onRetry=${list.again} />`;
  return html`<${Banner} error=${list.error} onRetry=${list.again} />
    ${newest
      ? html`<h1>Newest plan${newest.request_id && `: ${newest.request_id}`}</h1>
        <p class="hint">${clock.whole(Date.parse(newest.created_at))} · ${count(newest.total_jobs)} jobs on ${count(newest.total_machines)} machines · ${servedBy(newest)} · <a href="#/schedules/${id}">open</a></p>
        <${FigureTiles} decision=${newest} before=${before} />`
      : html`<section class="card"><h1>No schedule yet</h1><p>The first one that your key asks for will stand here.</p></section>`}
    <${Planning} who=${who} environment=${environment} onPlanned=${list.again} />
    <${Banner} error=${detail.error} onRetry=${detail.again} />
    ${detail.answer && html`<${ChartOfSchedule} key=${id} detail=${detail.answer} clock=${clock} isPlace=${false} />`}`;
}

/** The newest decision, and the newest before it of the same plant and line. */
function comparable(schedules) {
  const [newest, ...older] = schedules;
  const isAlike = (each) => each.plant_id === newest.plant_id && each.line_id === newest.line_id;
  return [newest, older.find(isAlike)];
}

/** Has plants scheduled: the example in development, and whatever file is chosen. What was chosen stays when it fails. */
function Planning({ who, environment, onPlanned }) {
  const [error, setError] = useState(null);
  const [stage, setStage] = useState(null);
  const [pair, setPair] = useState(null);
  const [file, setFile] = useState(null);
  const chooser = useRef(null);
  if (!who.scopes.includes("schedule")) return html`<p class="hint">Your key may read schedules; to make some it needs the scope schedule.</p>`;
  const mayForce = who.scopes.includes("operate");
  const run = async (act) => {
    setError(null);
    setPair(null);
    try {
      await act();
    } catch (found) {
      setError(found);
    }
    setStage(null);
  };
  const planWith = async (request) => {
    let rule = null;
    if (mayForce) {
      setStage("The planner's rule plans it …");
      rule = await post("v1/schedules", { ...request, arm: "manual" });
    }
    setStage("The policy plans it …");
    const policy = await post("v1/schedules", { ...request, ...(mayForce && { arm: "ppo" }), time_budget_ms: request.time_budget_ms ?? BUDGET_MS });
    setPair({ rule, policy });
    await readable(policy.schedule_id);
    onPlanned();
  };
  const planExample = () => run(async () => {
    setStage("Reading the example …");
    await planWith(await get(`v1/demo-data/${EXAMPLE}`));
  });
  const planFile = () => run(async () => {
    const text = await file.text();
    setStage("The service plans it …");
    const answer = await post("v1/schedules", text);
    setPair({ rule: null, policy: answer });
    await readable(answer.schedule_id);
    onPlanned();
  });
  return html`<section class="card"><div class="actions">
      ${environment === "development" && html`<button class="primary" disabled=${stage !== null} onClick=${planExample}>Plan the example plant</button>`}
      <label class="file">My request (JSON) <input ref=${chooser} type="file" accept=".json,application/json" onChange=${(event) => setFile(event.target.files[0] ?? null)} /></label>
      <button disabled=${stage !== null || !file} onClick=${planFile}>Plan it</button>
      <span class="hint" aria-live="polite">${stage}</span>
    </div>
    ${!mayForce && environment === "development" && html`<p class="hint">To see the rule beside the policy a key needs the scope operate.</p>`}
    <${Banner} error=${error} />
    ${pair && html`<p aria-live="polite">Planned: ${count(pair.policy.metrics.scheduled_jobs)} of ${count(pair.policy.metrics.total_jobs)} jobs, ${hours(pair.policy.metrics.makespan)} in all. <a href="#/schedules/${pair.policy.schedule_id}">Open it</a></p>`}
    ${pair?.rule && html`<${Beside} policy=${pair.policy.metrics} rule=${pair.rule.metrics} />`}
  </section>`;
}

/** Returns once the decision can be read, which takes up to a second. */
async function readable(id) {
  for (let tries = 0; tries < 20; tries += 1) {
    try {
      await get(`v1/schedules/${id}`);
      return;
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

export function SchedulesPage({ clock }) {
  const [pages, setPages] = useState([]);
  const [error, setError] = useState(null);
  const more = async (cursor) => {
    try {
      const page = await get(`v1/schedules?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      setPages((before) => (cursor ? [...before, page] : [page]));
      setError(null);
    } catch (found) {
      setError(found);
    }
  };
  useEffect(() => { more(null); }, []);
  const next = pages.at(-1)?.next_cursor;
  const rows = pages.flatMap((page) => page.schedules);
  return html`<h1>Schedules</h1>
    <${Banner} error=${error} onRetry=${() => more(pages.length ? next : null)} />
    ${pages.length > 0 && rows.length === 0 && html`<p>None yet.</p>`}
    ${rows.length > 0 && html`<section class="card scroll"><table>
      <thead><tr><th>Made</th><th>Request</th><th>Plant</th><th class="number">Jobs</th><th class="number">Makespan</th><th class="number">On time</th><th class="number">Utilisation</th><th>Who</th></tr></thead>
      <tbody>${rows.map((each) => html`<tr key=${each.schedule_id}>
        <td class="when"><a href="#/schedules/${each.schedule_id}">${clock.whole(Date.parse(each.created_at))}</a></td>
        <td>${each.request_id ?? "–"}</td><td>${[each.plant_id, each.line_id].filter(Boolean).join(" / ") || "–"}</td>
        <td class="number">${count(each.total_jobs)}</td><td class="number">${number(each.metrics.makespan)} h</td><td class="number">${percent(each.metrics.jobs_on_time)}</td>
        <td class="number">${percent(each.metrics.average_utilization)}</td><td>${servedBy(each).replace("served by the ", "")}</td></tr>`)}</tbody></table></section>`}
    ${next && html`<button onClick=${() => more(next)}>Earlier ones</button>`}`;
}
