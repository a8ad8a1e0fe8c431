// Sends JPEG or WebP images to a cloud-server and prints what is in them, one JSON object a line.
//
//   npm install
//   node detect.mjs 127.0.0.1:50051 street.jpg yard.webp
//
// It is written from protos/split_inference.proto and docs/protocol.md alone.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../protos/split_inference.proto", import.meta.url));
const PROTOCOL_VERSION = 1;

function codecOf(path, data) {
  if (data[0] === 0xff && data[1] === 0xd8) return "CODEC_JPEG";
  if (data.subarray(8, 12).toString("latin1") === "WEBP") return "CODEC_WEBP";
  throw new Error(`${path} is neither a JPEG nor a WebP file`);
}

function frameOf(path, id) {
  // No size and no deadline: the image says the first itself, and this client waits as long as it takes.
  const payload = readFileSync(path);
  return { frameId: id, operatingPoint: { codec: codecOf(path, payload) }, payload, wholeImage: true };
}

function objectsOf(detections, classNames) {
  return detections.scores.map((score, i) => ({
    class: classNames[detections.labels[i]],
    score,
    box: detections.boxes.slice(4 * i, 4 * i + 4), // left, top, right, bottom in pixels of the image
  }));
}

function detect(server, paths) {
  const frames = paths.map(frameOf);
  const definition = protoLoader.loadSync(PROTO, { longs: Number, enums: String, defaults: true, oneofs: true });
  const { SplitInference } = grpc.loadPackageDefinition(definition).slimsplit.v1;
  const client = new SplitInference(server, grpc.credentials.createInsecure());
  const session = client.Detect();
  let classNames = [];
  let next = 0;

  function sendNext() {
    if (next < frames.length) session.write({ frame: frames[next++] });
    else session.end(); // all have been answered: the server closes the session
  }

  return new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("end", () => client.close());
    session.on("status", resolve);
    session.on("data", (reply) => {
      if (reply.reply === "opened") {
        if (!reply.opened.bundle) return reject(new Error(`${reply.opened.server} is too old for whole images`));
        classNames = reply.opened.bundle.classNames;
        sendNext();
      } else if (reply.reply === "detections") {
        const { frameId, timing } = reply.detections;
        const objects = objectsOf(reply.detections, classNames);
        console.log(JSON.stringify({ image: paths[frameId], objects, inferMs: timing.inferMs }));
        sendNext();
      } else if (reply.reply === "error") {
        const { frameId, code, message } = reply.error;
        console.log(JSON.stringify({ image: paths[frameId], error: `${code}: ${message}` }));
        sendNext();
      }
    });
    // Without a digest the server answers with its default bundle.
    session.write({ open: { protocolVersion: PROTOCOL_VERSION, deviceId: "node-example" } });
  });
}

const [server, ...paths] = process.argv.slice(2);
if (!paths.length) {
  console.error("usage: node detect.mjs HOST:PORT IMAGE...");
  process.exit(2);
}
try {
  await detect(server, paths);
} catch (error) {
  console.error(`detect: ${error.details ?? error.message}`);
  process.exit(1);
}
