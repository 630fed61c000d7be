// Zoom and pan of a stage by wheel, drag, pinch and keys. The same place stays in view when the picture changes.

function zoomable(stage, layer) {
  const view = { scale: 1, x: 0, y: 0, width: 1, height: 1 };
  const touches = new Map();

  const fitScale = () => Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height);

  const place = () => {
    const [width, height] = [view.width * view.scale, view.height * view.scale];
    view.x = width <= stage.clientWidth ? (stage.clientWidth - width) / 2 : Math.min(0, Math.max(stage.clientWidth - width, view.x));
    view.y = height <= stage.clientHeight ? (stage.clientHeight - height) / 2 : Math.min(0, Math.max(stage.clientHeight - height, view.y));
    layer.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    layer.classList.toggle("pixels", view.scale * devicePixelRatio >= 3);
    stage.dataset.scale = view.scale.toFixed(3);
  };

  const zoom = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const scale = Math.min(32, Math.max(Math.min(1, fitScale()), view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    place();
  };

  const fit = () => ((view.scale = fitScale()), place());

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = d3.pointer(event, stage);
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, d3.pointer(event, stage));
  });
  stage.addEventListener("pointermove", (event) => {
    if (!touches.has(event.pointerId)) return;
    const before = [...touches.values()].map((point) => [...point]);
    touches.set(event.pointerId, d3.pointer(event, stage));
    const after = [...touches.values()];
    const middle = (spots) => [d3.mean(spots, ([x]) => x), d3.mean(spots, ([, y]) => y)];
    const apart = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    const [[x0, y0], [x1, y1]] = [middle(before), middle(after)];
    view.x += x1 - x0;
    view.y += y1 - y0;
    if (after.length === 2 && apart(before) > 0) zoom(apart(after) / apart(before), x1, y1);
    else place();
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => touches.delete(event.pointerId));
  stage.addEventListener("dblclick", (event) => {
    const [x, y] = d3.pointer(event, stage);
    if (Math.abs(view.scale - fitScale()) < 0.01) zoom(4, x, y);
    else fit();
  });
  new ResizeObserver(() => view.width > 1 && place()).observe(stage);

  return {
    zoom,
    fit,
    // Sets the size of the picture in its own pixels; another size is fitted anew.
    size(width, height) {
      if (view.width === width && view.height === height) return place();
      Object.assign(view, { width, height });
      layer.style.width = `${width}px`;
      layer.style.height = `${height}px`;
      fit();
    },
  };
}
