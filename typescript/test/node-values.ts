// Decodes and encodes again what each line of the input describes: `{nodes, hex}`. Answers the bytes
// in hex, or `!` and the error's name and text. Started by tests/web/test_values.py.
import { createInterface } from "node:readline";
import { fromHex, planOf, reencode, toHex } from "./described.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const { nodes, hex } = JSON.parse(line) as { nodes: never; hex: string };
  let answer: string;
  try {
    answer = toHex(reencode(planOf(nodes), fromHex(hex)));
  } catch (error) {
    answer = `!${(error as Error).name} ${(error as Error).message}`;
  }
  console.log(answer.replaceAll("\n", " "));
}
