// The page of several runs: one quantity of all of them against epsilon.

const MARKS = ["circle", "square", "triangle", "diamond"];
const view = { quantity: "ratio", cursor: data.shown };
const chart = new Chart(byId("curves"), "Runs against attack strength", {
  onMove: (place) => chart.moveTo((view.cursor = place)),
});

function show() {
  const { title, isShare, level } = data.quantities[view.quantity];
  const runs = data.runs.filter((run) => run.curves[view.quantity]);
  chart.show({
    x: data.epsilons, axis: makeAxis(data.epsilons, state.isLog, state.unit, 6),
    xTitle: titleEpsilon(), yTitle: title, isShare, connect: true, band: null,
    nameX: (i) => `ε = ${nameEpsilon(data.epsilons[i])}`,
    uprights: [], failed: [], dots: [],
    levels: level ? [{ value: level, name: "threshold", colour: "threshold", text: "" }] : [],
    series: runs.map((run) => ({
      name: run.name, colour: `c${run.place % 6}`, marker: MARKS[run.place % 4],
      mean: run.curves[view.quantity].map(mean), lines: transpose(run.curves[view.quantity]),
    })),
  }, view.cursor);
}

listen("quantity", (value) => { view.quantity = value; show(); });
start(show);
