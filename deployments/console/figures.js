// Key figures of decisions: as tiles with what has changed, and the policy beside the planner's rule.

import { Tile } from "./parts.js";
import { html } from "./vendor/htm-preact-standalone.js";
import { hours, number, percent } from "./words.js";

const FEW = 0.05;
// `more` says whether more of it is better.
const FIGURES = [
  { field: "makespan", label: "Makespan", show: hours, difference: hours, more: false },
  { field: "jobs_on_time", label: "Families on time", show: percent, difference: (value) => `${number(value)} points`, more: true },
  { field: "important_jobs_on_time", label: "Important on time", show: percent, difference: (value) => `${number(value)} points`, more: true },
  { field: "total_tardiness", label: "Tardiness", show: hours, difference: hours, more: false },
  { field: "average_utilization", label: "Utilisation", show: percent, difference: (value) => `${number(value)} points`, more: true },
  { field: "total_setup_time", label: "Setup", show: hours, difference: hours, more: false },
];
const WORDS = { ppo: "policy", manual: "planner's rule" };

const wordOf = (algorithm) => WORDS[algorithm] ?? algorithm;

/** Who made the schedule that was served, and why it was not who should have. */
export function servedBy(decision) {
  const model = decision.model ? ` ${decision.model}` : "";
  const served = `served by the ${wordOf(decision.algorithm_used)}${model}`;
  return decision.fallback_reason ? `${served} instead of the ${wordOf(decision.arm)}: ${decision.fallback_reason}` : served;
}

/** The figures of a decision, with what has changed against `before` when there is one. */
export function FigureTiles({ decision, before }) {
  return html`<section class="tiles" aria-label="Key figures">
    ${FIGURES.map((figure) => html`<${FigureTile} key=${figure.field} figure=${figure} now=${decision.metrics[figure.field]} before=${before?.metrics[figure.field]} />`)}
    <${Tile} label="Arm" value=${wordOf(decision.arm)} tone=${decision.fallback_reason ? "warn" : ""}
      note=${decision.fallback_reason ? servedBy(decision) : decision.model ?? "planned by rule"} />
    <${Tile} label="Judge" value="${number(decision.metrics.safety_score)} of 100" note="independent of whoever planned" />
  </section>`;
}

function FigureTile({ figure, now, before }) {
  const change = before === undefined || before === null || now === null ? null : now - before;
  const isSame = change !== null && Math.abs(change) < FEW;
  const words = change === null ? null : isSame ? "as before" : `${change > 0 ? "+" : ""}${figure.difference(change)} against the one before`;
  return html`<${Tile} label=${figure.label} value=${figure.show(now)} change=${words}
    isBetter=${change === null || isSame ? null : change > 0 === figure.more} />`;
}

/** Both arms on the same request, once both are known: what the policy gains against the rule. */
export function Gain({ detail }) {
  const { ppo, manual } = detail.arms;
  if (!ppo || !manual) return null;
  return html`<${Beside} policy=${ppo} rule=${manual} />`;
}

/** The figures of the policy and of the rule in columns. */
export function Beside({ policy, rule }) {
  return html`<section class="card"><h2>Policy beside the planner's rule</h2>
    <div class="scroll"><table><thead><tr><th>Same request</th><th class="number">Policy</th><th class="number">Rule</th><th class="number">Difference</th></tr></thead>
    <tbody>${FIGURES.map(({ field, label, show, difference, more }) => {
      const change = policy[field] - rule[field];
      const mark = Math.abs(change) < FEW ? "" : change > 0 === more ? "better" : "worse";
      return html`<tr key=${field}><td>${label}</td><td class="number">${show(policy[field])}</td><td class="number">${show(rule[field])}</td>
        <td class="number ${mark}">${mark ? `${change > 0 ? "+" : ""}${difference(change)}` : "the same"}</td></tr>`;
    })}</tbody></table></div></section>`;
}
