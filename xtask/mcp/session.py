"""Drives `pyro mcp serve` over stdio with the official client: session.py PYRO.

Each check prints a line; the last line is `N passed, N failed`. PYRO_HOME says where; every workspace made here is deleted.
"""

import asyncio
import os
import sys
import tarfile
import tempfile
import traceback

from mcp import Client, MCPError, StdioServerParameters

PROFILES = {
    "vm-run": {"vm_run"},
    "workspace-core": {
        "vm_run",
        "workspace_create",
        "workspace_list",
        "workspace_status",
        "workspace_reset",
        "workspace_undo",
        "workspace_exec",
        "workspace_delete",
        "workspace_diff",
        "workspace_file_list",
        "workspace_file_read",
        "workspace_file_write",
    },
}
CALL_SECONDS = 600  # the first call may have to build the environment

passed = failed = 0


def check(name, truth, detail=""):
    global passed, failed
    if truth:
        passed += 1
    else:
        failed += 1
    print(f"{'ok' if truth else 'FAILED'}  {name}{'' if truth else f': {detail}'}", flush=True)


def text_of(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


def server(pyro, *arguments):
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "PYRO_HOME") if name in os.environ}
    return StdioServerParameters(command=pyro, args=["mcp", "serve", *arguments], env=environment)


async def profiles(pyro):
    shown = {}
    for profile in ("vm-run", "workspace-core", "workspace-full"):
        async with Client(server(pyro, "--profile", profile)) as client:
            tools = (await client.list_tools()).tools
        shown[profile] = {tool.name for tool in tools}
        check(f"{profile}: every tool is described", all(tool.description for tool in tools))
        check(f"{profile}: every tool is annotated", all(tool.annotations is not None for tool in tools))
        schemas = [str(tool.input_schema) for tool in tools]
        check(f"{profile}: schemas are flat", not any("$ref" in schema or "anyOf" in schema for schema in schemas))
    check("vm-run shows one tool", shown["vm-run"] == PROFILES["vm-run"], shown["vm-run"])
    missing = PROFILES["workspace-core"] - shown["workspace-core"]
    check("workspace-core shows what a workspace needs", not missing, missing)
    check("each profile holds the smaller one", shown["vm-run"] <= shown["workspace-core"] <= shown["workspace-full"])


async def work(pyro):
    name = f"mcp-session-{os.getpid()}"
    async with Client(server(pyro, "--profile", "workspace-full", "--structured"), read_timeout_seconds=CALL_SECONDS) as client:

        async def call(tool, **arguments):
            return await client.call_tool(tool, arguments)

        ran = await call("vm_run", environment="debian:12", command="git --version")
        check("vm_run runs a command", not ran.is_error and "git version" in text_of(ran), text_of(ran))

        made = await call("workspace_create", environment="debian:12", name=name)
        check("workspace_create makes a workspace", not made.is_error and name in text_of(made), text_of(made))
        try:
            wrote = await call("workspace_file_write", workspace=name, path="hello.sh", text='echo "it\'s $((6*7))"\n')
            check("workspace_file_write needs no quoting", not wrote.is_error, text_of(wrote))
            read = await call("workspace_file_read", workspace=name, path="hello.sh")
            check("workspace_file_read gives it back", "it's $((6*7))" in text_of(read), text_of(read))
            listed = await call("workspace_file_list", workspace=name)
            check("workspace_file_list shows it", "hello.sh" in text_of(listed), text_of(listed))
            done = await call("workspace_exec", workspace=name, command="sh hello.sh; exit 3")
            check("a command that exits 3 is not an error", not done.is_error, text_of(done))
            check("its output and its end are told", "it's 42" in text_of(done) and "3" in text_of(done), text_of(done))
            check("the result is structured too", (done.structured_content or {}).get("outcome", {}).get("code") == 3, done.structured_content)
            edited = await call("workspace_file_edit", workspace=name, file_path="hello.sh", old_string="6*7", new_string="6*8")
            check("workspace_file_edit takes the words of other tools", "48" in text_of(await call("workspace_exec", workspace=name, command="sh hello.sh")), text_of(edited))
            refused = await call("workspace_file_edit", workspace=name, path="hello.sh", edits=[{"old": "echo 42", "new": "x"}])
            check("a refused edit shows what is there", refused.is_error and "6*8" in text_of(refused), text_of(refused))
            diff = await call("workspace_diff", workspace=name)
            check("workspace_diff shows the new file", "+echo" in text_of(diff), text_of(diff))
            network = await call("workspace_exec", workspace=name, command="ls /sys/class/net; cat /proc/net/route | wc -l")
            check("there is no network but loopback", "eth" not in text_of(network), text_of(network))
            found = await call("workspace_list")
            check("workspace_list finds it again", name in text_of(found), text_of(found))
            state = await call("workspace_status", workspace=name)
            check("workspace_status tells the isolation", "no_network" in str(state.structured_content), state.structured_content)
            wrong = await call("workspace_exec", workspace=name + "x", command="true")
            check("a wrong name is an error that names the right one", wrong.is_error and name in text_of(wrong), text_of(wrong))
            try:
                wrong = await call("workspace_exec", workspace=name, commnad="true")
                refusal = text_of(wrong) if wrong.is_error else ""
            except MCPError as error:
                refusal = str(error)
            check("a misspelt field is refused by name", "commnad" in refusal, refusal)
        finally:
            gone = await call("workspace_delete", workspace=name)
            check("workspace_delete deletes it", not gone.is_error, text_of(gone))
        found = await call("workspace_list")
        check("it is not listed any more", name not in text_of(found), text_of(found))


async def past(pyro):
    name = f"mcp-past-{os.getpid()}"
    with tempfile.TemporaryDirectory() as granted, tempfile.TemporaryDirectory() as other:
        with open(os.path.join(granted, "pushed.txt"), "w", encoding="utf-8") as file:
            file.write("from outside\n")
        os.symlink(other, os.path.join(granted, "way-out"))
        arguments = ("--profile", "workspace-full", "--structured", "--allow-path", granted)
        async with Client(server(pyro, *arguments), read_timeout_seconds=CALL_SECONDS) as client:

            async def call(tool, **arguments):
                return await client.call_tool(tool, arguments)

            async def run(workspace, command):
                return text_of(await call("workspace_exec", workspace=workspace, command=command))

            await call("workspace_create", environment="debian:12", name=name)
            try:
                await run(name, "echo precious > a")
                snapshot = await call("snapshot_create", workspace=name, name="good")
                check("snapshot_create names the files as they are", not snapshot.is_error, text_of(snapshot))
                await run(name, "rm -rf /workspace/a /usr/lib/git-core")
                undone = await call("workspace_undo", workspace=name)
                check("workspace_undo undoes rm -rf", not undone.is_error and "precious" in await run(name, "cat a"), text_of(undone))
                forked = await call("workspace_fork", workspace=name, name=name + "-fork")
                check("workspace_fork makes a second one", not forked.is_error, text_of(forked))
                await run(name + "-fork", "echo better > b")
                merged = await call("workspace_merge", workspace=name, **{"from": name + "-fork"})
                check("workspace_merge takes what it did", "better" in await run(name, "cat b"), text_of(merged))
                reset = await call("workspace_reset", workspace=name, snapshot="good")
                listing = await run(name, "ls")
                check("workspace_reset goes back to a snapshot", "b" not in listing.split(), text_of(reset) + listing)
                pushed = await call("workspace_sync_push", workspace=name, source=granted, path="in")
                check("workspace_sync_push brings a granted directory", "from outside" in await run(name, "cat in/pushed.txt"), text_of(pushed))
                out = os.path.join(granted, "out.tar")
                exported = await call("workspace_export", workspace=name, format="tar", output=out)
                check("workspace_export writes below what was granted", not exported.is_error and tarfile.is_tarfile(out), text_of(exported))
                for output in (os.path.join(other, "out.tar"), os.path.join(granted, "way-out", "out.tar"), granted + "/../out.tar"):
                    refused = await call("workspace_export", workspace=name, format="tar", output=output)
                    check("workspace_export is refused elsewhere", refused.is_error and not os.path.exists(output), text_of(refused))
                refused = await call("workspace_sync_push", workspace=name, source=other)
                check("workspace_sync_push is refused from elsewhere", refused.is_error, text_of(refused))
            finally:
                for workspace in (name + "-fork", name):
                    await call("workspace_delete", workspace=workspace)


async def running(pyro):
    name = f"mcp-running-{os.getpid()}"
    async with Client(server(pyro, "--profile", "workspace-full"), read_timeout_seconds=CALL_SECONDS) as client:

        async def call(tool, **arguments):
            return text_of(await client.call_tool(tool, {"workspace": name, **arguments}))

        await client.call_tool("workspace_create", {"environment": "debian:12", "name": name})
        try:
            line = "echo begun; while [ ! -e go ]; do sleep 0.05; done; seq 1 9000; echo 'error: the one' >&2; exit 7"
            begun = await call("workspace_exec", command=line, wait_seconds=0)
            check("a command goes on as a job", "still running" in begun and "job1" in begun, begun)
            check("its workspace does other things", "exit 0" in await call("workspace_exec", command="touch go"))
            ended = await call("workspace_job", action="wait", job="job1")
            check("workspace_job waits for its end", ended.startswith("exit 7") and "the one" in ended, ended)
            check("a long output says which lines are left out", "left out: lines " in ended, ended)
            read = await call("workspace_job", action="logs", job="job1", stream="stdout", lines="5001-5003")
            check("workspace_job reads lines of it", "5000\n5001\n5002" in read, read)
            found = await call("workspace_job", action="logs", job="job1", search="^error")
            check("workspace_job finds lines in it", "error: the one" in found, found)
            listed = await call("workspace_job", action="list")
            check("workspace_job lists commands", "job2: exit 0" in listed, listed)
            await call("workspace_file_write", path="src/deep/one.py", text="def one():\n    return 1\n")
            found = await call("workspace_file_search", pattern=r"def \w+\(", glob=["**/*.py"])
            check("workspace_file_search finds it", "src/deep/one.py" in found and "def one()" in found, found)
            read = await call("workspace_file_read", path="src/deep/one.py", lines="-1")
            check("workspace_file_read reads its last line", "return 1" in read and "def" not in read, read)
            moved = await call("workspace_file_move", **{"from": "src/deep/one.py", "to": "src/two.py"})
            check("workspace_file_move moves it", "two.py" in await call("workspace_file_list", path="src"), moved)
            opened = await call("shell_open")
            check("shell_open opens a shell", "at its prompt" in opened, opened)
            await call("shell_write", shell="sh1", text="cd src; export WORD=kept")
            wrote = await call("shell_write", shell="sh1", text="echo $WORD in ${PWD##*/}; false")
            check("a shell keeps directory and variables", "kept in src" in wrote and "exit 1" in wrote, wrote)
            wrote = await call("shell_write", shell="sh1", text="cat", until="quiet")
            wrote = await call("shell_write", shell="sh1", keys=["ctrl-c"])
            check("keys are pressed by name", "exit 130" in wrote, wrote)
            closed = await call("shell_close", shell="sh1")
            check("shell_close ends it", "has ended" in closed, closed)
        finally:
            await client.call_tool("workspace_delete", {"workspace": name})


async def main(pyro):
    for part in (profiles, work, past, running):
        try:
            await part(pyro)
        except Exception as error:  # a session that breaks is one failure, told with where
            traceback.print_exc()
            check(part.__name__, False, repr(error))


asyncio.run(main(sys.argv[1]))
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
