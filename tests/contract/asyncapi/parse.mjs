// Prints what the official parser thinks of each document, one line of JSON for each:
//   node parse.mjs FOLDER_OF_NODE_MODULES DOCUMENT...
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [modules, ...documents] = process.argv.slice(2);
const { Parser } = createRequire(`${modules}/`)('@asyncapi/parser');

for (const path of documents) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(path, 'utf8'));
  console.log(JSON.stringify({
    channels: (document?.channels().all() ?? []).map((channel) => channel.address()),
    operations: (document?.operations().all() ?? []).map((operation) => operation.id()),
    diagnostics: diagnostics.map(({ code, severity, message, path }) => ({
      code, severity, message, path: path.join('.'),
    })),
  }));
}
