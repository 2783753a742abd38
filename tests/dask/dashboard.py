# SPDX-License-Identifier: BSL-1.0
"""Looks at Dask's own dashboard, in a real browser, while a C++ program makes a call on the cluster.

    JOBLOT_TEST_DASK_PYTHON=PYTHON python dashboard.py PROGRAM FUNCTION [PICTURE.png]

PROGRAM is started as `PROGRAM ADDRESS --seconds 8` and calls FUNCTION for some seconds. Its name and its progress must come up on
the dashboard's progress bars and in its task stream, as the browser has them; a screenshot of that moment is kept in
PICTURE. Needs a Dask with bokeh, and Chromium. Exit status 77: there is none of them.
"""

import asyncio
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

PATIENCE = 120  # seconds, for what should be there in a few
PAGE = (1280, 800)

# All that the page's own figures show: for each, its title, the texts on it, and the data of its columns.
READ_PAGE = """(() => {
  const found = [];
  for (const document_ of (window.Bokeh ? window.Bokeh.documents : []))
    for (const model of document_._all_models.values())
      if (model.type === 'ColumnDataSource' || model.type.endsWith('.ColumnDataSource')) {
        const columns = {};
        for (const name of Object.keys(model.data)) columns[name] = Array.from(model.data[name]).slice(-200);
        found.push({name: model.name || '', columns});
      }
  return JSON.stringify(found);
})()"""


class Browser:
    """One page of headless Chromium, spoken to by its DevTools protocol."""

    def __init__(self, executable, folder):
        self.folder = pathlib.Path(folder)
        command = [executable, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                   "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={folder}",
                   f"--window-size={PAGE[0]},{PAGE[1]}", "about:blank"]  # fmt: skip
        log = (self.folder / "chromium.log").open("wb")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.last_id = 0

    async def connect(self):
        from tornado.websocket import websocket_connect

        port_file = self.folder / "DevToolsActivePort"
        await until(lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, "Chromium's port")
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 28)

    async def call(self, method, **parameters):
        self.last_id += 1
        await self.socket.write_message(json.dumps({"id": self.last_id, "method": method, "params": parameters}))
        while True:
            text = await asyncio.wait_for(self.socket.read_message(), PATIENCE)
            if text is None:
                raise RuntimeError("Chromium has closed the connection")
            message = json.loads(text)
            if message.get("id") == self.last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    async def evaluate(self, script):
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:1000])
        return result["result"].get("value")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


async def until(condition, what):
    """Waits for a condition to hold, and gives what it returned."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"this did not come: {what}")
        await asyncio.sleep(0.1)


def progress_of(function, sources):
    """(done, all) of a function as its progress bar shows it, if there is one."""
    for source in sources:
        columns = source["columns"]
        if {"name", "all", "memory", "erred"} <= columns.keys() and function in columns["name"]:
            i = columns["name"].index(function)
            done = sum(columns[part][i] for part in ("memory", "erred", "released") if part in columns)
            return done, columns["all"][i]
    return None


def streamed(function, sources):
    """How many bars the task stream shows for a function."""
    for source in sources:
        columns = source["columns"]
        if {"start", "duration", "worker_thread", "name"} <= columns.keys():
            return sum(1 for name in columns["name"] if name == function)
    return 0


async def look(browser, url, program, enough, function, picture):
    await browser.connect()
    await browser.call("Page.enable")
    await browser.call("Page.navigate", url=url)
    await until(lambda: browser.evaluate("!!(window.Bokeh && Bokeh.documents.length)"), "the dashboard's page")
    process = program()
    try:

        async def seen():
            sources = json.loads(await browser.evaluate(READ_PAGE))
            progress, bars = progress_of(function, sources), streamed(function, sources)
            # The progress bar is about what is on the cluster now: a part of the call.
            return (progress, bars) if progress and progress[0] < progress[1] and bars > 10 else None

        try:
            progress, bars = await until(seen, f"{function} at work, on the dashboard")
        except AssertionError:
            print(json.dumps(json.loads(await browser.evaluate(READ_PAGE)))[:4000], file=sys.stderr)
            raise
        print(f"progress bar: {function} {progress[0]} / {progress[1]}; task stream: {bars} bars")
        title = await browser.evaluate("document.title")
        assert "Dask" in title, title
        shot = await browser.call("Page.captureScreenshot", format="png")
        data = base64.b64decode(shot["data"])
        assert data.startswith(b"\x89PNG") and len(data) > 5000, len(data)
        if picture:
            pathlib.Path(picture).write_bytes(data)
            print(f"{picture}: {len(data) // 1024} KiB")

        async def more():
            return streamed(function, json.loads(await browser.evaluate(READ_PAGE))) > bars

        await until(more, "progress of the task stream")
        assert process.poll() is None, "the call ended by itself"
        enough.touch()
        status = await asyncio.get_running_loop().run_in_executor(None, lambda: process.wait(PATIENCE))
        assert status == 0, f"the program ended with {status}"

        async def all_done():
            now = progress_of(function, json.loads(await browser.evaluate(READ_PAGE)))
            return now is None or now[0] == now[1]  # the bars go when the client has let go of its results

        await until(all_done, "the end of the call, on the dashboard")
    finally:
        process.kill()


def main():
    program, function, *picture = sys.argv[1:]
    python = os.environ.get("JOBLOT_TEST_DASK_PYTHON", "")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not python or subprocess.run([python, "-c", "import bokeh, distributed"], capture_output=True).returncode:
        print(f"skipped: JOBLOT_TEST_DASK_PYTHON ({python!r}) has no Dask with bokeh; see scripts/dask_environments.sh")
        return 77
    if not chromium:
        print("skipped: there is no Chromium (Debian: chromium)")
        return 77
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory() as folder:
        with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
            browser = Browser(chromium, folder)
            enough = pathlib.Path(folder, "enough")  # the call goes on until this is there
            command = [program, cluster.scheduler_address, "--until", str(enough)]
            try:
                asyncio.run(
                    look(browser, cluster.dashboard_link, lambda: subprocess.Popen(command), enough, function,
                         picture[0] if picture else None)
                )  # fmt: skip
            finally:
                browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
