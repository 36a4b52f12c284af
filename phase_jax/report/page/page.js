// What both pages share: the data, the unit of epsilon, the axis.

const data = JSON.parse(document.getElementById("data").textContent);
const state = { unit: 255, isLog: false };
const byId = (id) => document.getElementById(id);
const mean = (values) => {
  const found = values.filter((value) => value !== null);
  return found.length ? found.reduce((a, b) => a + b) / found.length : null;
};
const transpose = (rows) => rows[0].map((_, column) => rows.map((row) => row[column]));

function nameEpsilon(value) {
  if (!value) return "0";
  return state.unit === 255 ? `${shorten(255 * value)}/255` : shorten(value);
}

function titleEpsilon() {
  return `attack strength ε (${data.norm} radius, ${state.unit === 255 ? "units of 1/255" : "pixels in [0, 1]"})`;
}

// Every radio group and select with this name calls back with its value.
function listen(name, react) {
  for (const input of document.getElementsByName(name)) {
    input.addEventListener("change", () => react(input.value));
  }
}

function start(show) {
  document.documentElement.classList.add("js");
  listen("unit", (value) => {
    state.unit = Number(value);
    for (const text of document.querySelectorAll("[data-epsilon]")) {
      text.textContent = nameEpsilon(Number(text.dataset.epsilon));
    }
    show();
  });
  listen("axis", (value) => {
    state.isLog = value === "log";
    show();
  });
  show();
}
