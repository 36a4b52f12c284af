// A page without charts: only the unit of epsilon changes.

start(() => {});
