// Sends features or an image to a cloud-server and prints what is in it. Nothing to install: HTTP/2 from Node, protobuf
// by hand, so that every byte on the wire can be seen here.
//
//   node features.mjs 127.0.0.1:50051 frame.sl 640x480      features, and the size of the image that they are of
//   node features.mjs 127.0.0.1:50051 street.jpg            an ordinary image, JPEG or WebP
//
// A file of features is what a device sends for one frame: python -m examples.features writes one. docs/protocol.md has
// its bytes. Split mode takes no more than this: whoever makes such a payload can send it.

import { readFileSync } from "node:fs";
import http2 from "node:http2";

const PROTOCOL_VERSION = 1;
const CODEC = { rans: 1, zstd: 2, jpeg: 3, webp: 4 }; // enum Codec
const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5]; // wire types of protobuf

// Protobuf: each field is its number and wire type, and then its value.

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

function field(number, value) {
  if (typeof value === "number") return Buffer.concat([varint(number * 8 + VARINT), varint(value)]);
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([varint(number * 8 + BYTES), varint(bytes.length), bytes]);
}

function message(fields) {
  return Buffer.concat(Object.entries(fields).map(([number, value]) => field(Number(number), value)));
}

function* fieldsOf(bytes) {
  let at = 0;
  const number = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    const [id, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === VARINT) yield [id, number()];
    else {
      const length = { [BYTES]: () => number(), [FIXED32]: () => 4, [FIXED64]: () => 8 }[kind]();
      yield [id, bytes.subarray(at, (at += length))];
    }
  }
}

const all = (bytes, id) => [...fieldsOf(bytes)].filter(([number]) => number === id).map(([, value]) => value);
const first = (bytes, id, otherwise) => all(bytes, id)[0] ?? otherwise;
const text = (bytes) => bytes.toString("utf8");
const floats = (bytes) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
const numbers = (bytes) => {
  const values = [];
  for (let i = 0, value = 0, factor = 1; i < bytes.length; i++) {
    value += (bytes[i] & 127) * factor;
    factor *= 128;
    if (bytes[i] < 128) [value, factor] = [void values.push(value) ?? 0, 1];
  }
  return values;
};

// gRPC: one POST whose body, in both directions, is messages with five bytes before each.

function session(client, onMessage, onEnd) {
  const stream = client.request({
    ":method": "POST",
    ":path": "/slimsplit.v1.SplitInference/Detect",
    "content-type": "application/grpc",
    te: "trailers",
  });
  let waiting = Buffer.alloc(0);
  let status = {};
  const note = (headers) => "grpc-status" in headers && (status = headers);
  stream.on("response", note); // a refusal may have no body
  stream.on("trailers", note);
  stream.on("data", (chunk) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 5 && waiting.length >= 5 + waiting.readUInt32BE(1)) {
      const end = 5 + waiting.readUInt32BE(1);
      onMessage(waiting.subarray(5, end));
      waiting = waiting.subarray(end);
    }
  });
  stream.on("error", (error) => onEnd(`the link is gone: ${error.message}`));
  stream.on("end", () => onEnd(status["grpc-status"] === "0" ? null : decodeURIComponent(status["grpc-message"] ?? "")));
  return {
    send(bytes) {
      const head = Buffer.alloc(5); // not compressed, and its length
      head.writeUInt32BE(bytes.length, 1);
      stream.write(Buffer.concat([head, bytes]));
    },
    finish: () => stream.end(),
  };
}

// The protocol: DetectRequest is {1: OpenSession, 2: Frame}, DetectReply {1: opened, 2: ack, 3: detections, 4: error}.

function openSession(digest) {
  return message({ 1: message({ 1: PROTOCOL_VERSION, 2: "node-example", 3: digest }) });
}

function frameOf(payload, size) {
  if (isFeatures(payload)) {
    const point = message({ 1: payload[3], 2: payload[12], 3: payload[13] }); // codec, width, quality: from the header
    return message({ 2: message({ 1: 1, 3: point, 4: payload, 6: size[0], 7: size[1] }) });
  }
  const isJpeg = payload[0] === 0xff && payload[1] === 0xd8;
  const point = message({ 1: isJpeg ? CODEC.jpeg : CODEC.webp });
  return message({ 2: message({ 1: 1, 3: point, 4: payload, 8: 1 }) });
}

const isFeatures = (payload) => payload.subarray(0, 2).toString() === "SL";

function objectsOf(found, names) {
  const [boxes, scores] = [floats(first(found, 3, Buffer.alloc(0))), floats(first(found, 4, Buffer.alloc(0)))];
  const labels = numbers(first(found, 5, Buffer.alloc(0)));
  return scores.map((score, i) => ({ class: names[labels[i]], score, box: boxes.slice(4 * i, 4 * i + 4) }));
}

// Opens a session with a bundle, and asks about one frame if there is one. Returns the bundle's digest and the objects.
function ask(client, digest, frame) {
  return new Promise((resolve, reject) => {
    let opened = null;
    let objects = [];
    const fail = (error) => reject(new Error(error));
    const onMessage = (reply) => {
      const [[kind, body]] = fieldsOf(reply);
      if (kind === 1) {
        opened = { digest: first(body, 3), names: all(first(body, 5), 3).map(text) };
        if (frame) link.send(frame);
        else link.finish();
      } else if (kind === 3) {
        objects = objectsOf(body, opened.names);
        link.finish();
      } else if (kind === 4) {
        fail(text(first(body, 4)));
        link.finish();
      }
    };
    const onEnd = (error) => (error === null ? resolve({ digest: opened.digest, objects }) : fail(error));
    const link = session(client, onMessage, onEnd);
    link.send(openSession(digest));
  });
}

const [server, path, size = "0x0"] = process.argv.slice(2);
if (!path) {
  console.error("usage: node features.mjs HOST:PORT FILE [WIDTHxHEIGHT]");
  process.exit(2);
}
const client = http2.connect(`http://${server}`);
client.on("error", () => {}); // the stream says it, too
try {
  const payload = readFileSync(path);
  let { digest } = await ask(client, Buffer.alloc(0)); // of the server's default bundle
  if (isFeatures(payload) && !payload.subarray(4, 12).equals(digest.subarray(0, 8)))
    throw new Error("these features are of another bundle than the server's default one");
  if (!isFeatures(payload)) digest = Buffer.alloc(0);
  const { objects } = await ask(client, digest, frameOf(payload, size.split("x").map(Number)));
  console.log(JSON.stringify({ file: path, bytes: payload.length, objects }));
} catch (error) {
  console.error(`features: ${error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
