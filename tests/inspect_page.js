// Runs inside the page under test: uses it as a reader would, writes what it saw into the page.
(() => {
  const found = { errors: [], blocked: [] };
  addEventListener("error", (event) => found.errors.push(String(event.message)));
  addEventListener("securitypolicyviolation", (event) => found.blocked.push(event.blockedURI));

  const read = (host) => ({
    at: host.querySelector(".at").textContent,
    values: [...host.querySelectorAll(".legend .number")].map((number) => number.textContent),
    spoken: host.querySelector("svg[role=slider]").getAttribute("aria-valuetext"),
  });
  const choose = (name, value) => {
    const input = [...document.getElementsByName(name)].find((one) => one.tagName === "SELECT" || one.value === value);
    if (input.tagName === "SELECT") input.value = value;
    else input.checked = true;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const point = (host, share, type = "pointermove") => {
    const svg = host.querySelector("svg[role=slider]");
    const box = svg.getBoundingClientRect();
    const at = { clientX: box.left + 60 + share * (box.width - 74), clientY: box.top + 100, bubbles: true };
    svg.dispatchEvent(new PointerEvent(type, at));
  };
  const press = (host, key) =>
    host.querySelector("svg[role=slider]").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const ticks = (host) => [...host.querySelectorAll(".axis text[text-anchor=middle]")].map((text) => text.textContent);

  function useRun() {
    const [losses, accuracies, learning] = ["losses", "accuracies", "learning"].map((id) => document.getElementById(id));
    point(losses, 0);
    found.left = read(losses);
    point(losses, 1);
    found.right = read(losses);
    found.linked = read(accuracies);
    press(losses, "ArrowLeft");
    found.oneLeft = read(losses);
    press(losses, "Home");
    found.home = read(losses);
    found.linearTicks = ticks(losses);
    choose("axis", "log");
    found.logTicks = ticks(losses);
    choose("unit", "1");
    found.pixels = { ticks: ticks(losses), star: document.querySelector(".star").textContent, at: read(losses).at };
    choose("unit", "255");
    choose("axis", "linear");
    choose("reading", "1");
    point(losses, 1);
    found.evaluated = read(losses);
    choose("reading", "0");
    point(losses, 0, "pointerdown");
    found.picked = read(learning).at;
    found.lines = learning.querySelectorAll("path.seed").length;
    choose("seed", "0");
    found.oneSeed = learning.querySelectorAll("path.seed").length;
    choose("quantity", "accuracy");
    found.accuracy = read(learning).values[0];
    const measures = document.getElementById("measures");
    choose("measure", "clean_accuracy_drop");
    point(measures, 1);
    found.measure = read(measures);
    const shown = () => [...document.querySelectorAll(".strength")].filter((part) => part.offsetHeight).map((part) => part.dataset.place);
    found.strengths = document.querySelectorAll(".strength").length;
    found.shownFirst = shown();
    choose("picture", document.querySelectorAll(".strength")[0].dataset.place);
    found.shownThen = shown();
    const button = losses.querySelector(".legend button");
    const paths = () => losses.querySelectorAll("path.mean").length;
    found.meansBefore = paths();
    button.click();
    found.meansAfter = paths();
    losses.querySelector(".legend button").click();
  }

  function useComparison() {
    const curves = document.getElementById("curves");
    point(curves, 0);
    found.left = read(curves);
    found.means = curves.querySelectorAll("path.mean").length;
    choose("quantity", "cleanAccuracy");
    point(curves, 0);
    found.accuracies = read(curves);
  }

  addEventListener("load", () => {
    try {
      if (document.getElementById("curves") && document.getElementById("curves").tagName === "DIV") useComparison();
      else useRun();
    } catch (error) {
      found.errors.push(String(error.stack));
    }
    found.pictures = [...document.images].map((image) => image.complete && image.naturalWidth);
    found.requests = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
    found.width = innerWidth;
    found.overflow = document.documentElement.scrollWidth - innerWidth;
    found.background = getComputedStyle(document.body).backgroundColor;
    const report = document.createElement("pre");
    report.id = "found";
    report.textContent = JSON.stringify(found);
    document.body.append(report);
  });
})();
