// The value is a list of pictures as data URLs, a layer's each, "" where there is none. It is sent while one draws.

const canvases = [...element.querySelectorAll('canvas')], layers = canvases.map(() => ''), drawn = new Set();
let due;

function send() {
  due ??= setTimeout(() => {
    due = undefined;
    drawn.forEach(number => { layers[number] = canvases[number].toDataURL(); });
    drawn.clear();
    props.value = [...layers];
  }, 150);
}

function clear(number) {
  canvases[number].getContext('2d').clearRect(0, 0, canvases[number].width, canvases[number].height);
  layers[number] = '';
  drawn.delete(number);
}

canvases.forEach((canvas, number) => {
  const pen = canvas.getContext('2d');
  Object.assign(pen, { strokeStyle: 'white', lineWidth: 24, lineCap: 'round', lineJoin: 'round' });
  pen.imageSmoothingEnabled = false;
  function draw(event) {
    const scale = canvas.width / canvas.clientWidth;
    pen.lineTo(event.offsetX * scale, event.offsetY * scale);
    pen.stroke();
    drawn.add(number);
    send();
  }
  canvas.addEventListener('pointerdown', event => {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    draw(event); // begins the line
    draw(event); // so that a touch is a dot
  });
  canvas.addEventListener('pointermove', event => { if (event.buttons) draw(event); });
  canvas.nextElementSibling.addEventListener('click', () => { clear(number); send(); });
});

watch('value', () => props.value.forEach((picture, number) => {
  if (picture === layers[number]) return;
  clear(number);
  layers[number] = picture;
  if (!picture) return;
  const image = new Image();
  image.onload = () => canvases[number].getContext('2d').drawImage(image, 0, 0, canvases[number].width, canvases[number].height);
  image.src = picture;
}));
