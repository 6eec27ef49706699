// How the service is doing.

import { get } from "./api.js";
import { Banner, Tile, useAnswer } from "./parts.js";
import { html } from "./vendor/htm-preact-standalone.js";
import { count, lapse, number } from "./words.js";

const SECONDS = 5;
const IN_WORDS = {
  healthy: "Everything works.",
  degraded: "Schedules are served, but something is missing.",
  unhealthy: "No schedule can be served now.",
};

export function ServicePage({ who, clock }) {
  const { answer, error, again } = useAnswer(() => get("health"), [], SECONDS);
  const mayOperate = who.scopes.includes("operate");
  const models = useAnswer(() => (mayOperate ? get("v1/models") : Promise.resolve(null)), [mayOperate]);
  if (!answer) return html`<${Banner} error=${error} onRetry=${again} />`;
  const { spool } = answer;
  return html`<${Banner} error=${error} onRetry=${again} />
    <section class="card status ${answer.status}">
      <h1>${IN_WORDS[answer.status]}</h1>
      ${answer.reasons.length > 0 && html`<ul>${answer.reasons.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul>`}
    </section>
    <section class="tiles">
      <${Tile} label="Database" value=${answer.database_connected ? "connected" : "away"} tone=${answer.database_connected ? "" : "bad"}
        note=${answer.database_connected ? null : "Decisions are safe on local disk until it is back."} />
      <${Tile} label="Waiting for the database" value="${count(spool.records)} records"
        note=${spool.records ? `${number(spool.bytes / 1024)} KiB, the oldest for ${lapse(spool.oldest_seconds)}` : "nothing waits"} />
      <${Tile} label="Policy" value=${answer.model_loaded ? "loaded" : "not loaded"} tone=${answer.model_loaded ? "" : "bad"}
        note=${answer.model_loaded ? null : "The planner's rule serves meanwhile."} />
      <${Tile} label="Rollout" value=${answer.rollout_stage.replace("_", " ")} />
      <${Tile} label="Up for" value=${lapse(answer.uptime)} note="version ${answer.version}, ${answer.environment}" />
      <${Tile} label="Last schedule" value=${answer.last_schedule_time ? clock.whole(Date.parse(answer.last_schedule_time)) : "none yet"} />
      <${Tile} label="Keys read" value=${answer.keys_age === null ? "never" : `${lapse(answer.keys_age)} ago`} />
    </section>
    ${mayOperate
      ? html`<${Models} ...${models} clock=${clock} />`
      : html`<p class="hint">Policies are shown to keys with the scope operate.</p>`}`;
}

function Models({ answer, error, again, clock }) {
  return html`<section class="card"><h2>Policies</h2>
    <${Banner} error=${error} onRetry=${again} />
    <div class="scroll"><table><thead><tr><th>Policy</th><th>Role</th><th>Trained</th><th>Fingerprint</th></tr></thead>
      <tbody>${(answer?.models ?? []).map((model) => html`<tr key=${model.model_id}>
        <td>${model.model_id}${model.is_published && " (shipped)"}</td><td>${model.role}</td>
        <td>${Number.isNaN(Date.parse(model.created_at)) ? model.created_at : clock.dated(Date.parse(model.created_at))}</td>
        <td><code>${model.sha256.slice(0, 12)}</code></td></tr>`)}</tbody></table></div></section>`;
}

