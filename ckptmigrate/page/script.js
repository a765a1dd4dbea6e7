const box = document.querySelector('input[type=search]');
const found = document.querySelector('#found');
const rows = [...document.querySelectorAll('tr[data-text]')];
box?.addEventListener('input', () => {
  const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    row.hidden = !wanted.every(word => row.dataset.text.includes(word));
    count += row.hidden ? 0 : Number(row.dataset.count);
  }
  found.textContent = wanted.length ? `${count.toLocaleString('en')} found, in all lists` : '';
});
