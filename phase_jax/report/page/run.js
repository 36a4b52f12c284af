// The page of one run: loss and accuracy against epsilon, learning curves, examples.

const view = { reading: 0, cursor: data.shown, epoch: 0, strength: data.shown, seed: "all", quantity: "loss" };
view.measure = Object.keys(data.transition)[0];

const losses = new Chart(byId("losses"), "Loss against attack strength", { onMove, onPick });
const accuracies = new Chart(byId("accuracies"), "Accuracy against attack strength", { onMove, onPick });
const learning = new Chart(byId("learning"), "Learning curves", {
  onMove: (place) => learning.moveTo((view.epoch = place)),
});

// Where every lane failed there is nothing to measure.
const measures = byId("measures") && new Chart(byId("measures"), "Distance from clean models", { onMove, onPick });

function onMove(place) {
  view.cursor = place;
  losses.moveTo(place);
  accuracies.moveTo(place);
  if (measures) measures.moveTo(place);
}

function onPick(place) {
  view.strength = place;
  byId("strength").value = String(place);
  showLearning();
}

const curve = (name, colour, marker, rows) => ({
  name, colour, marker, mean: rows.map(mean), lines: transpose(rows),
});

const describeAxis = (star) => ({
  x: data.epsilons,
  axis: makeAxis(data.epsilons, state.isLog, state.unit, 6),
  xTitle: titleEpsilon(),
  nameX: (i) => `ε = ${nameEpsilon(data.epsilons[i])}`,
  band: star.low === null ? null : { low: star.low, high: star.high },
  uprights: star.value === null
    ? []
    : [{ x: star.value, name: "ε* and its interval", colour: "star", text: nameEpsilon(star.value) }],
  failed: data.failed,
  dots: [],
});

function showCurves() {
  const reading = data.readings[view.reading];
  const { star, threshold } = reading;
  const common = describeAxis(star);
  const levels = threshold === null
    ? []
    : [{ value: threshold, name: "threshold (clean test loss)", colour: "threshold", text: shorten(threshold) }];
  losses.show({
    ...common, levels, yTitle: reading.unit,
    series: [
      curve("adversarial train loss", "train", "circle", reading.train),
      curve("adversarial test loss", "test", "square", reading.test),
    ],
  }, view.cursor);
  accuracies.show({
    ...common, levels: [], yTitle: "accuracy", isShare: true,
    series: [
      curve("adversarial train accuracy", "train", "circle", reading.trainAccuracy),
      curve("adversarial test accuracy", "test", "square", data.testAccuracy),
      curve("clean test accuracy", "clean", "triangle", data.cleanAccuracy),
    ],
  }, view.cursor);
}

function showMeasures() {
  if (!measures) return;
  const { title, level, value, low, high } = data.transition[view.measure];
  measures.show({
    ...describeAxis(data.readings[0].star), yTitle: title,
    levels: [{ value: level, name: "reference", colour: "threshold", text: shorten(level) }],
    series: [{ name: title, colour: "train", marker: "circle", mean: value, lines: [low, high] }],
  }, view.cursor);
}

function showLearning() {
  const { epochs, history } = data;
  const e = view.strength;
  const isAll = view.seed === "all";
  const take = (name, colour, marker, key) => {
    const lanes = history[key][e];
    const chosen = isAll ? lanes.filter((_, s) => data.sound[e][s]) : [lanes[Number(view.seed)]];
    const lines = chosen.length ? chosen : lanes;
    return { name, colour, marker, lines, mean: transpose(lines).map(mean) };
  };
  const { quantity } = view;
  const series = [
    take(`train ${quantity}`, "train", "circle", `train_${quantity}`),
    take(`test ${quantity}`, "test", "square", `test_${quantity}`),
  ];
  const seeds = data.seeds.map((_, s) => s).filter((s) => (isAll ? data.sound[e][s] : s === Number(view.seed)));
  const dots = seeds.flatMap((s) => {
    const place = epochs.indexOf(data.selected[e][s]);
    const y = place < 0 ? null : history[`test_${quantity}`][e][s][place];
    return y === null ? [] : [{ series: series[1], x: epochs[place], y }];
  });
  learning.show({
    x: epochs, axis: makeEpochAxis(epochs), xTitle: "epoch",
    yTitle: quantity === "loss" ? data.readings[0].unit : "accuracy",
    nameX: (i) => `epoch ${epochs[i]}, ε = ${nameEpsilon(data.epsilons[e])}`,
    band: null, uprights: [], levels: [], failed: [], dots, series, isShare: quantity === "accuracy",
  }, view.epoch);
}

function showPictures(chosen) {
  for (const part of document.querySelectorAll(".strength")) part.hidden = part.dataset.place !== chosen;
}

listen("reading", (value) => { view.reading = Number(value); showCurves(); });
listen("strength", (value) => { view.strength = Number(value); showLearning(); });
listen("seed", (value) => { view.seed = value; showLearning(); });
listen("quantity", (value) => { view.quantity = value; showLearning(); });
listen("measure", (value) => { view.measure = value; showMeasures(); });
listen("picture", showPictures);
view.epoch = data.epochs.length - 1;
const checked = document.querySelector("[name=picture]:checked");
if (checked) showPictures(checked.value);
start(() => {
  for (const option of byId("strength").options) option.textContent = nameEpsilon(data.epsilons[option.value]);
  showCurves();
  showMeasures();
  showLearning();
});
