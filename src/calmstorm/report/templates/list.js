(() => {
  "use strict";
  const tools = document.getElementById("list-tools");
  if (!tools) return;
  const rows = [...document.querySelectorAll("#problem-list tbody tr[data-solved]")];
  const [words, solved, count] = [tools.querySelector("input"), tools.querySelector("select"), tools.querySelector("output")];
  const show = () => {
    const wanted = words.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!solved.value || row.dataset.solved === solved.value) && (!wanted || row.textContent.toLowerCase().includes(wanted));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + " of " + rows.length;
  };
  words.addEventListener("input", show);
  solved.addEventListener("change", show);
  tools.hidden = false;
  show();
})();
