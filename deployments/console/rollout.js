// The rollout for whoever operates it: where it stands, what it waits for, who did what, and the brake.

import { get, post } from "./api.js";
import { Banner, ReasonDialog, Tile, useAnswer } from "./parts.js";
import { html, useState } from "./vendor/htm-preact-standalone.js";
import { count, lapse, number, percent, plural } from "./words.js";

const SECONDS = 5;
const STAGES = [
  { stage: "shadow", words: "Shadow", note: "the policy plans unseen" },
  { stage: "limited", words: "Limited" },
  { stage: "expanded", words: "Expanded" },
  { stage: "full", words: "Full", note: "the policy serves everything" },
];
const VERDICTS = {
  PROMOTE: "Ready: all questions are answered, the next stage may begin.",
  HOLD: "Wait: not everything is known yet.",
  FUTILE: "More waiting will not help: the evidence does not come to a decision.",
  ROLLBACK: "Roll back: the policy has done harm, or is shown to.",
  INVALID: "The experiment is not sound: mend the cause before its figures are believed.",
  COMPLETE: "Complete: the policy serves everything, nothing is waited for.",
};
const GUARDRAILS = {
  critical_violation: { title: "Unsafe plans", words: "plans that break a hard rule", unit: "count" },
  data_corruption: { title: "Damaged data", words: "stored decisions that are not what was written", unit: "count" },
  crash_rate: { title: "Crashes", words: "proposals of the policy that fail", unit: "share" },
  unjudged_rate: { title: "Unjudged", words: "proposals without a verdict of the judge", unit: "share" },
  completion_rate: { title: "Complete plans", words: "jobs that the policy plans", unit: "share", isFloor: true },
  makespan_increase: { title: "Longer plans", words: "makespan above the other arm's", unit: "share" },
};
const ORDERS = {
  promote: { verb: "Promote", words: "One stage up. The service refuses it while the gate is not open." },
  pause: { verb: "Pause", words: "The share stays as it is, and nothing is promoted until somebody resumes." },
  resume: { verb: "Resume", words: "Back to the stage that was paused." },
  rollback: { verb: "Roll back", words: "The planner's rule serves everything at once, from every stage. A new ramp begins in shadow." },
};

export function RolloutPage({ who, clock }) {
  const mayOperate = who.scopes.includes("operate");
  const state = useAnswer(() => (mayOperate ? get("v1/rollout") : Promise.resolve(null)), [mayOperate], SECONDS);
  const events = useAnswer(() => (mayOperate ? get("v1/rollout/events?limit=50") : Promise.resolve(null)), [mayOperate], SECONDS);
  const [order, setOrder] = useState(null);
  const [done, setDone] = useState(null);
  const rollout = state.answer;
  const again = () => { state.again(); events.again(); };
  // Somebody was quicker: the reason stays, and the next click means what is there now.
  const lookAgain = async () => {
    const { version } = await get("v1/rollout");
    setOrder((before) => before && { ...before, version });
    again();
  };
  const act = async (reason) => {
    const body = { reason, ...(order.version !== null && { expected_version: order.version }), ...(order.isForced && { force: true }) };
    const answer = await post(`v1/rollout/${order.name}`, body).catch(async (error) => {
      if (error.status === 409 && mayOperate) await lookAgain();
      throw error;
    });
    setDone(`${ORDERS[order.name].verb}: ${stageWords(answer.stage)}, ${answer.detail}.`);
    again();
  };
  const choose = (name) => setOrder({ name, version: rollout?.version ?? null, isForced: false });
  return html`<h1>Rollout</h1>
    <${Banner} error=${state.error} onRetry=${again} />
    ${done && html`<p class="card" role="status">${done} <button class="quiet" onClick=${() => setDone(null)}>✕</button></p>`}
    ${!mayOperate && html`<p class="card">Your key may roll back and do nothing else here; to see the rollout it needs the scope operate.</p>`}
    ${rollout && html`<${Stages} rollout=${rollout} clock=${clock} />
      <${Verdict} gate=${rollout.gate} triggers=${rollout.triggers} />
      <${Orders} rollout=${rollout} onOrder=${choose} />
      <${Guardrails} guardrails=${rollout.guardrails} />
      <${Evidence} gate=${rollout.gate} />`}
    <${Banner} error=${events.error} onRetry=${events.again} />
    ${events.answer && html`<${Incidents} incidents=${events.answer.incidents} clock=${clock} /><${Trail} transitions=${events.answer.transitions} clock=${clock} />`}
    <div class="brake"><button class="danger" onClick=${() => choose("rollback")}>Roll back</button></div>
    ${order && html`<${ReasonDialog} title="${ORDERS[order.name].verb}?" explanation=${ORDERS[order.name].words} verb=${ORDERS[order.name].verb}
      tone=${order.name === "rollback" ? "danger" : "primary"} act=${act} onClose=${() => setOrder(null)}>
      ${order.name === "promote" && rollout?.gate.can_be_forced && html`<label class="force"><input type="checkbox" checked=${order.isForced} onChange=${(event) => setOrder({ ...order, isForced: event.target.checked })} />
        also without the missing days and evidence; your name stands beside it</label>`}
    <//>`}`;
}

const stageWords = (stage) => stage.replace("_", " ");

function Stages({ rollout, clock }) {
  const here = rollout.stage === "paused" ? rollout.held_stage : rollout.serving_stage;
  const at = STAGES.findIndex(({ stage }) => stage === here);
  const isBack = rollout.stage === "rolled_back";
  return html`<section class="card"><ol class="rail">
      ${STAGES.map(({ stage, words, note }, index) => {
        const demands = rollout.configuration[stage] ?? {};
        const mark = isBack ? "" : index < at ? "passed" : index === at ? "here" : "";
        return html`<li key=${stage} class=${mark} aria-current=${mark === "here" ? "step" : null}><b>${words}</b>
          <span>${note ?? `${percent(100 * (demands.share ?? 0))} of the windows`}</span>
          ${mark === "here" ? html`<span>${daysOf(rollout.seconds_in_stage)} ${demands.minimum_seconds ? `of ${daysOf(demands.minimum_seconds)} needed` : "so far"}</span>`
            : html`<span class="hint">${demands.minimum_seconds ? `at least ${daysOf(demands.minimum_seconds)}` : "no minimum"}</span>`}
          ${demands.minimum_pairs > 0 && html`<span class="hint">${count(demands.minimum_pairs)} pairs needed</span>`}</li>`;
      })}</ol>
    <p>${isBack ? html`<b class="worse">Rolled back: the planner's rule serves everything.</b> Promote begins the next ramp in shadow.`
      : html`Now <b>${stageWords(rollout.stage)}</b>, since ${clock.dated(Date.parse(rollout.stage_since))}${rollout.stage === "paused" && ` (held at ${rollout.held_stage})`}.`}
      ${" "}Target ${percent(100 * rollout.share)} to ${rollout.challenger}, the rest to ${rollout.champion};
      ${" "}${rollout.actual_share === null ? "nothing served in this stage yet" : `${percent(100 * rollout.actual_share)} so far`}.
      ${rollout.held_back.length > 0 && html` Shown to be worse, so these lists stay on ${rollout.champion}: <b>${rollout.held_back.join(", ")}</b>.`}
      ${rollout.is_dry_run && html` <b>Dry run: guardrails roll nothing back.</b>`}
      ${!rollout.is_owner && html` <b>Orders are taken by ${rollout.owner ?? "another service"}; rolling back works here as well.</b>`}</p>
    ${" "}<p class="hint">Ramp ${rollout.ramp}, version ${rollout.version}, ${plural(rollout.routers.length, "router", "routers")} heard</p></section>`;
}

const daysOf = (seconds) => (seconds === 0 ? "0 days" : seconds < 86_400 ? lapse(seconds) : plural(Math.floor((10 * seconds) / 86_400) / 10, "day", "days"));

function Verdict({ gate, triggers }) {
  const tone = { ROLLBACK: "unhealthy", INVALID: "unhealthy", HOLD: "degraded", FUTILE: "degraded" }[gate.verdict] ?? "";
  return html`<section class="card status ${tone}"><h2>${VERDICTS[gate.verdict] ?? gate.verdict}</h2>
    <ul>${gate.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}${triggers.map((trigger) => html`<li key=${trigger.reason} class="worse">${trigger.reason}</li>`)}</ul></section>`;
}

function Orders({ rollout, onOrder }) {
  const isPaused = rollout.stage === "paused";
  const isBack = rollout.stage === "rolled_back";
  const why = {
    promote: isPaused ? "paused: resume first" : rollout.stage === "full" ? "there is no stage above full" : null,
    pause: isPaused ? "it is paused" : isBack ? "it is rolled back" : null,
    resume: isPaused ? null : "it is not paused",
  };
  const isElsewhere = !rollout.is_owner;
  return html`<section class="actions orders">${Object.entries(why).map(([name, reason]) => html`<button key=${name}
      disabled=${reason !== null || isElsewhere} title=${isElsewhere ? `Orders are taken by ${rollout.owner}` : reason ?? ORDERS[name].words} onClick=${() => onOrder(name)}>${ORDERS[name].verb}</button>`)}
    <span class="hint">${Object.entries(why).filter(([, reason]) => reason).map(([name, reason]) => `${ORDERS[name].verb}: ${reason}`).join(" · ")}</span></section>`;
}

function Guardrails({ guardrails }) {
  const byName = new Map();
  for (const each of guardrails) {
    if (!byName.has(each.guardrail)) byName.set(each.guardrail, []);
    byName.get(each.guardrail).push(each);
  }
  return html`<h2>Guardrails</h2><section class="tiles">${[...byName].map(([name, rules]) => {
    const { title, words, unit, isFloor } = GUARDRAILS[name] ?? { title: name, words: "", unit: "share" };
    const isFired = rules.some(({ condition }) => !["healthy", "not enough data"].includes(condition));
    const isKnown = rules.some(({ condition }) => condition !== "not enough data");
    const first = rules[0];
    const shown = (value) => (value === null ? "not known yet" : unit === "count" ? count(value) : percent(100 * value));
    return html`<${Tile} key=${name} label=${title} tone=${isFired ? "bad" : isKnown ? "good" : ""} value=${isFired ? "fired" : isKnown ? "holds" : "waits"}
      change="${words}: ${shown(first.value)}" note="${isFloor ? "at least" : "at most"} ${shown(first.limit)}; ${first.n ? plural(first.n, "observation", "observations") : "nothing observed yet"}" />`;
  })}</section>
  <details class="card"><summary>Each rule with its figures</summary><div class="scroll"><table><thead><tr><th>Guardrail</th><th>Rule</th><th>Against</th><th class="number">Value</th><th class="number">Limit</th><th class="number">n</th><th>State</th></tr></thead>
    <tbody>${guardrails.map((each, index) => html`<tr key=${index}><td>${GUARDRAILS[each.guardrail]?.title ?? each.guardrail}</td><td>${each.rule}</td><td>${each.baseline ?? "–"}</td>
      <td class="number">${figure(each.value)}</td><td class="number">${figure(each.limit)}</td><td class="number">${count(each.n)}</td><td>${each.condition}</td></tr>`)}</tbody></table></div></details>`;
}

const figure = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));

function Evidence({ gate }) {
  return html`<details class="card"><summary>The evidence, question by question</summary><div class="scroll"><table><thead><tr><th>Question</th><th class="number">Windows</th><th class="number">Odds</th><th class="number">Needed</th><th>State</th></tr></thead>
    <tbody>${(gate.evidence ?? []).map((each) => html`<tr key=${each.question}><td>${each.question}</td><td class="number">${count(each.windows)}</td>
      <td class="number">${number(each.odds)} to 1</td><td class="number">${number(each.needed_odds)} to 1</td>
      <td>${each.is_answered ? "answered" : each.windows_missing === null ? "open" : `about ${plural(each.windows_missing, "window", "windows")} to go`}</td></tr>`)}</tbody></table></div></details>`;
}

function Incidents({ incidents, clock }) {
  return html`<section class="card"><h2>Incidents</h2>${incidents.length === 0 ? html`<p>None.</p>`
    : incidents.map((incident) => html`<details key=${incident.incident_id}><summary>${clock.dated(Date.parse(incident.created_at))} · ${GUARDRAILS[incident.trigger]?.title ?? incident.trigger} in ${stageWords(incident.stage)} · ${stageWords(incident.action)}</summary>
      <pre>${JSON.stringify(incident.evidence, null, 1)}</pre></details>`)}</section>`;
}

function Trail({ transitions, clock }) {
  return html`<section class="card"><h2>Who did what, and why</h2><div class="scroll"><table><thead><tr><th>When</th><th>Who</th><th>What</th><th>Why</th></tr></thead>
    <tbody>${transitions.map((each) => html`<tr key=${each.version}><td class="when">${clock.dated(Date.parse(each.created_at))}</td><td>${each.actor}</td>
      <td>${each.from_stage && each.from_stage !== each.to_stage ? `${stageWords(each.from_stage)} → ${stageWords(each.to_stage)}` : stageWords(each.to_stage)}${each.evidence?.is_forced && " (forced)"}</td><td>${each.reason}</td></tr>`)}</tbody></table></div></section>`;
}
