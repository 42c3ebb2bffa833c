// What the programs here share: the things asked, and how what was told is printed. Run as: node CLIENT.mjs BASE_URL ROUTE...
import { z } from "zod";

export const PICTURE = "iVBORw0KGgo=";
export const City = z.object({ city: z.string() });
export const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
export const weather = ({ city }) => ({ Oslo: "-3", Bergen: "4" })[city];
export const called = (name, input) => `${name}(${input.city})`;

export const ask = { text: "Hello", one: "How cold is Oslo?", two: "How cold are Oslo and Bergen?", object: "Which city?", odd: "Be odd" };
export const busy = (route, surface) => [`${route}-busy-${surface}`, `Again, ${route}`];

// The error of what must fail.
export async function failing(asking) {
  try {
    await asking();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

// What its client makes of a refusal: an error of that class, with the status and the upstream's reason.
export function refusal(error, kind, status) {
  if (!(error instanceof kind)) throw error;
  return `${status} ${/Too odd\./.exec(error.message)?.[0]}`;
}

// surfaces: {name: {check: async (route) => what was told}}. All routes at once, a line of JSON for each check of each.
export async function run(surfaces) {
  const routes = process.argv.slice(3);
  const lines = [];
  for (const route of routes) {
    for (const [surface, checks] of Object.entries(surfaces)) {
      for (const [check, answer] of Object.entries(checks)) {
        lines.push(
          answer(route).then(
            (told) => ({ route, surface, check, told: String(told) }),
            (error) => ({ route, surface, check, told: `failed: ${error.stack}` }),
          ),
        );
      }
    }
  }
  for (const line of await Promise.all(lines)) console.log(JSON.stringify(line));
}

export const base = process.argv[2];
