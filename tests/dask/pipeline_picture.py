# SPDX-License-Identifier: BSL-1.0
"""Makes the picture of docs/guide/dask_pipeline.md: Dask's dashboard, while scikit-learn searches where C++ has searched.

    PYTHON tests/dask/pipeline_picture.py build/examples/bin/grid_search docs/images/dask_pipeline.png

PYTHON: with Dask, bokeh and scikit-learn, as scripts/dask_environments.sh makes it; needs Chromium (see dashboard.py).
Prints which colour is what.
"""

import asyncio
import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from dashboard import READ_PAGE, Browser, until
from distributed import LocalCluster

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "python_and_cpp.py"
THEIRS = "batch_of__fit_and_score"  # joblib's name of scikit-learn's batches, but for their size

# The middle of the longest bar of a task, in the page's pixels.
FIND_BAR = """((name) => {
  for (const document_ of Bokeh.documents)
    for (const figure of document_._all_models.values())
      for (const renderer of figure.renderers || []) {
        const data = renderer.data_source && renderer.data_source.data, view = Bokeh.index.find_one(figure);
        if (!view || !data || !data.worker_thread || !data.name) continue;
        let best = -1;
        for (let i = 0; i < data.name.length; ++i)
          if (data.name[i] === name && (best < 0 || data.duration[i] > data.duration[best])) best = i;
        if (best < 0) continue;
        const box = view.el.getBoundingClientRect();
        return [box.x + view.frame.x_scale.compute(data.start[best]), box.y + view.frame.y_scale.compute(data.y[best])];
      }
  return null;
})"""


async def look(browser, url, command, picture):
    await browser.connect()
    await browser.call("Page.enable")
    await browser.call("Page.navigate", url=url)
    await until(lambda: browser.evaluate("!!(window.Bokeh && Bokeh.documents.length)"), "the dashboard's page")
    process = subprocess.Popen(command)
    try:

        async def bars():
            """The colours of all names in the task stream, once scikit-learn's are there in numbers."""
            for source in json.loads(await browser.evaluate(READ_PAGE)):
                columns = source["columns"]
                if {"start", "duration", "worker_thread", "name", "color"} <= columns.keys():
                    names = columns["name"]
                    if "ridge_scores" in names and sum(name.startswith(THEIRS) for name in names) > 15:
                        return dict(zip(names, columns["color"]))
            return None

        for name, color in sorted((await until(bars, "both kinds of tasks")).items()):
            print(f"{color}  {name}")
        place = await browser.evaluate(f"{FIND_BAR}('ridge_scores')")
        assert place, "there is no bar of ridge_scores"
        for _ in range(2):  # to see the name of what is there
            await browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
            await asyncio.sleep(0.3)
        shot = await browser.call("Page.captureScreenshot", format="png")
        pathlib.Path(picture).write_bytes(base64.b64decode(shot["data"]))
        status = await asyncio.get_running_loop().run_in_executor(None, process.wait)
        assert status == 0, f"the example ended with {status}"
    finally:
        process.kill()


def main():
    program, picture = sys.argv[1:]
    chromium = shutil.which("chromium") or sys.exit("there is no Chromium (Debian: chromium)")
    with tempfile.TemporaryDirectory() as folder:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            browser = Browser(chromium, folder)
            command = [sys.executable, EXAMPLE, program, "--scheduler", cluster.scheduler_address, "--compare"]
            try:
                asyncio.run(look(browser, cluster.dashboard_link, command, picture))
            finally:
                browser.close()


if __name__ == "__main__":
    main()
