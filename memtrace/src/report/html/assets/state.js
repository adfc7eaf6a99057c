// What the reader has chosen. It is kept in the address, so that a link shows the same.

export class State {
  /** Ranges are `[from, until]` in nanoseconds, or null. */
  constructor() {
    this.listeners = [];
    this.view = "";
    this.range = null;
    this.zoom = null;
    /** The zooms that led to this one, from the outside in; the whole run is not in it. */
    this.trail = [];
    this.pin = null;
    this.hover = null;
    /** Index of the process that is looked at closer. */
    this.process = null;
    this.sort = "";
    this.query = "";
    Object.assign(this, this.read());
  }

  /** Calls back with the names of what has changed. */
  listen(callback) {
    this.listeners.push(callback);
  }

  /** Takes over what is given, tells the listeners, and updates the address. */
  set(changes) {
    const names = Object.keys(changes).filter((name) => String(this[name]) !== String(changes[name]));
    if (names.length === 0) return;
    Object.assign(this, changes);
    if (!this.zoom) this.trail = [];
    const changed = new Set(names);
    for (const listener of [...this.listeners]) listener(changed);
    if (names.some((name) => name !== "hover")) this.write();
  }

  /** Looks closer: the present zoom is kept to go back to. */
  zoomTo(zoom) {
    if (String(zoom) === String(this.zoom)) return;
    this.trail = this.zoom ? [...this.trail, this.zoom].slice(-8) : [];
    this.set({ zoom });
  }

  /** Goes back to a zoom of the trail, by its place; to the whole run for a negative one. */
  zoomBack(place) {
    const zoom = place < 0 ? null : (this.trail[place] ?? null);
    this.trail = this.trail.slice(0, Math.max(0, place));
    this.set({ zoom });
  }

  /** Starts anew with nobody listening. */
  forget() {
    this.listeners = this.listeners.filter((listener) => listener.stays);
  }

  read() {
    const values = new URLSearchParams(location.hash.slice(1));
    const time = (text) => {
      const seconds = Number.parseFloat(text);
      return Number.isFinite(seconds) && seconds >= 0 ? Math.round(seconds * 1e9) : null;
    };
    const index = (text) => (/^\d+$/.test(text) ? Number(text) : null);
    const range = (text) => {
      const ends = (text ?? "").split("-").map(time);
      return ends.length === 2 && ends[0] !== null && ends[1] > ends[0] ? ends : null;
    };
    return {
      view: values.get("view") ?? "",
      range: range(values.get("t")),
      zoom: range(values.get("zoom")),
      pin: time(values.get("at") ?? ""),
      process: index(values.get("process") ?? ""),
      sort: values.get("sort") ?? "",
      query: values.get("q") ?? values.get("pid") ?? "",
    };
  }

  write() {
    const values = new URLSearchParams();
    const time = (ns) => (ns / 1e9).toFixed(9).replace(/\.?0+$/, "");
    if (this.view) values.set("view", this.view);
    if (this.range) values.set("t", this.range.map(time).join("-"));
    if (this.zoom) values.set("zoom", this.zoom.map(time).join("-"));
    if (this.pin !== null) values.set("at", time(this.pin));
    if (this.process !== null) values.set("process", this.process);
    if (this.sort) values.set("sort", this.sort);
    if (this.query) values.set("q", this.query);
    const hash = values.toString();
    try {
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    } catch {
      // Some viewers do not let a page change its address. Nothing else depends on it.
    }
  }
}
