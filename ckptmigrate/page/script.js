const box = document.querySelector('input[type=search]');
box?.addEventListener('input', () => {
  const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll('tr[data-text]')) {
    row.hidden = !wanted.every(word => row.dataset.text.includes(word));
  }
});
