// Verifies signed vitalguard documents.
//
//     mosquitto_sub -q 1 -t 'vitalguard/#' -v | node verify.mjs k1=/etc/vitalguard/sign.key
//
// Reads `topic payload` lines, one document a line, and holds against each: the signature, the place that the topic names, and
// that `rev` does not go back within one `boot`. Says what does not hold, and at the end how many did. Exit code 1 where any did
// not. A key is the first line of its file. What stations and users write is only looked at where it is signed.
// Needs nothing but Node 18.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const MEMBER = ',"sig":"';

/** `null` where the signature holds, else why not. The bytes are UTF-8 on both sides. */
export function proven(payload, keys) {
  const at = payload.lastIndexOf(MEMBER);
  if (at < 0 || !payload.endsWith('"}')) return "no signature";
  const [algorithm, name, digits, more] = payload.slice(at + MEMBER.length, -2).split(":");
  if (algorithm !== "hmac-sha256" || more !== undefined || !keys.has(name)) return "a key that is not known";
  const expected = createHmac("sha256", keys.get(name)).update(payload.slice(0, at) + "}").digest();
  const given = Buffer.from(/^[0-9a-f]{64}$/.test(digits ?? "") ? digits : "", "hex");
  return given.length === expected.length && timingSafeEqual(given, expected) ? null : "another key or other bytes";
}

/** `null` where the document says the place of its topic, else what differs. */
export function placed(topic, document) {
  const levels = topic.split("/");
  // {root}/v1/{site}/…, below {root}/replay/{run} for a replay.
  const site = levels.indexOf("v1") + 1;
  const rest = levels.slice(site + 1);
  const where = { site: levels[site] };
  for (const name of ["ward", "bed", "feed", "device"]) {
    const at = rest.slice(0, -1).indexOf(name);
    if (at >= 0) where[name] = rest[at + 1];
  }
  for (const [name, value] of Object.entries(where)) {
    // `flat` names no place, `device` of a bed is an object.
    if (typeof document[name] === "string" && document[name] !== value) return name;
  }
  if (rest.at(-2) === "event" && document.alert) {
    if (![document.alert.priority, document.prev?.priority].includes(rest.at(-1))) return "priority";
  }
  return null;
}

const keys = new Map();
for (const argument of process.argv.slice(2)) {
  const at = argument.indexOf("=");
  keys.set(argument.slice(0, at), readFileSync(argument.slice(at + 1), "utf8").split(/\r?\n/)[0]);
}
if (keys.size === 0) {
  console.error("usage: verify.mjs ID=KEYFILE [ID=KEYFILE …] < lines");
  process.exit(2);
}
const newest = new Map();
let good = 0;
let bad = 0;
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const space = line.indexOf(" ");
  const [topic, payload] = space < 0 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
  if (payload === "" || payload === "(null)") continue; // a tombstone: gone
  const ours = !topic.includes("/cmd/") && !topic.includes("/station/");
  if (!ours && !payload.includes(MEMBER)) continue;
  let why = proven(payload, keys);
  if (why === null) {
    const document = JSON.parse(payload);
    const wrong = placed(topic, document);
    if (wrong) {
      why = `${wrong} is not that of the topic`;
    } else if (document.rev !== undefined && ours && !topic.includes("/rsp/")) {
      const key = `${topic} ${document.boot}`;
      if (document.rev < (newest.get(key) ?? 0)) why = "older than the one before";
      newest.set(key, Math.max(document.rev, newest.get(key) ?? 0));
    }
  }
  if (why === null) good += 1;
  else {
    bad += 1;
    console.log(`BAD ${topic}: ${why}`);
  }
}
console.log(`${good} good, ${bad} bad`);
process.exitCode = bad > 0 ? 1 : 0;
