// Lets the parser of the AsyncAPI project read our document: any complaint is printed, an error ends with 1.
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const FORMAT = "application/schema+json;version=draft-2020-12";
const parser = new Parser();
// The parser knows drafts up to 7 by itself; the payload schemas are judged by another program.
parser.registerSchemaParser({
  validate: () => [],
  parse: (input) => input.data,
  getMimeTypes: () => [FORMAT],
});
const { document, diagnostics } = await parser.parse(readFileSync(process.argv[2], "utf8"));
for (const d of diagnostics) console.log(`${["error", "warning", "info", "hint"][d.severity]} ${d.path.join(".")}: ${d.message}`);
if (!document || diagnostics.some((d) => d.severity === 0)) process.exit(1);
console.log(`asyncapi ${document.version()}: ${document.channels().length} channels, ${document.operations().length} operations`);
