// Clips that play in step: one clock, and every canvas draws the native frame that its time asks for.

class Clock {
  constructor() {
    this.time = 0; // seconds
    this.speed = 1;
    this.playing = false;
    this.drawn = new Set();
    this.last = null;
  }

  play(on = !this.playing) {
    if (on === this.playing) return;
    this.playing = on;
    this.last = null;
    if (on) requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    if (!this.playing) return;
    if (this.last !== null) this.go(this.time + (this.speed * (now - this.last)) / 1000);
    this.last = now;
    requestAnimationFrame((next) => this.tick(next));
  }

  go(time) {
    this.time = Math.max(0, time);
    for (const canvas of this.drawn) {
      if (canvas.isConnected) canvas.draw();
      else this.drawn.delete(canvas);
    }
  }

  show(canvas) {
    this.drawn.forEach((one) => { if (!one.isConnected) this.drawn.delete(one); }); // a clock that stands clears nothing else
    this.drawn.add(canvas);
    return canvas;
  }
}

const KEPT = 100; // clips; those that are shown stay, whatever their number

// What a clip needs to be drawn: facts as `clip_sheets.ClipSheet` has them, and its pictures as images.
class Sheets {
  constructor(fetched) {
    this.fetched = fetched; // row -> Promise of {facts, pictures}
    this.known = new Map();
  }

  get(row) {
    if (!this.known.has(row)) {
      if (this.known.size >= KEPT) this.known.delete(this.known.keys().next().value);
      const loaded = this.fetched(row).then(async ({ facts, pictures, error }) => {
        if (error) throw new Error(error);
        const images = {};
        for (const [kind, picture] of Object.entries(pictures)) {
          // From bytes without an <img>, whose caches grow with every clip that was ever seen.
          images[kind] = await (typeof picture === "string" ? loadImage(picture) : createImageBitmap(picture));
        }
        return { facts, images };
      });
      loaded.catch(() => this.known.delete(row)); // it may be there the next time
      this.known.set(row, loaded);
    }
    return this.known.get(row);
  }
}

function loadImage(url) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("a picture that the browser cannot read"));
    image.src = url;
  });
}

function nativeFrame(facts, time) {
  return Math.floor(time * facts.fps + 1e-6) % facts.num_frames;
}

function tileOf(numbers, number) {
  let at = 0;
  while (at + 1 < numbers.length && numbers[at + 1] <= number) at += 1;
  return at;
}

// A canvas with one kind of picture of a clip (frames, flow) that follows the clock.
function moving(clock, sheets, row, kind, width, description) {
  const canvas = node("canvas", { role: "img", "aria-label": description, title: description });
  canvas.style.width = `${width}px`;
  canvas.draw = () => {};
  const around = node("span", { class: "clip" }, canvas);
  sheets.get(row).then(
    ({ facts, images }) => {
      const part = facts[kind];
      if (!part) {
        around.replaceChildren(node("span", { class: "lost" }, facts.no_flow ? `no flow: ${facts.no_flow}` : ""));
        return;
      }
      const [w, h] = part.size;
      Object.assign(canvas, { width: w, height: h });
      const context = canvas.getContext("2d");
      canvas.draw = () => {
        const number = nativeFrame(facts, clock.time);
        const at = tileOf(part.numbers, number);
        canvas.dataset.frame = number;
        const x = (at % part.columns) * w;
        context.drawImage(images[kind], x, Math.floor(at / part.columns) * h, w, h, 0, 0, w, h);
      };
      canvas.draw();
      clock.show(canvas);
    },
    (error) => around.replaceChildren(node("span", { class: "lost", role: "note" }, error.message)),
  );
  return around;
}

// The line of time below a clip: where it is, and which frames the model reads.
function timeLine(clock, sheets, row, width) {
  const canvas = node("canvas", { width: 2 * width, height: 24, "aria-hidden": "true", class: "time" });
  canvas.style.width = `${width}px`;
  canvas.draw = () => {};
  sheets.get(row).then(({ facts }) => {
    const context = canvas.getContext("2d");
    const x = (number) => 4 + ((2 * width - 8) * number) / Math.max(1, facts.num_frames - 1);
    canvas.draw = () => {
      const style = getComputedStyle(canvas);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.fillStyle = style.getPropertyValue("--line");
      context.fillRect(4, 11, 2 * width - 8, 2);
      context.fillStyle = style.getPropertyValue("--accent");
      for (const number of facts.sampled) context.fillRect(x(number) - 1.5, 5, 3, 14);
      context.fillStyle = style.getPropertyValue("--ink");
      context.beginPath();
      context.arc(x(nativeFrame(facts, clock.time)), 12, 5, 0, 7);
      context.fill();
    };
    canvas.draw();
    clock.show(canvas);
  }, () => {});
  return canvas;
}
