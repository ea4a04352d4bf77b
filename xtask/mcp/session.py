"""Drives `pyro mcp serve` over stdio with the official client: session.py PYRO.

Each check prints a line; the last line is `N passed, N failed`. PYRO_HOME says where; every workspace made here is deleted.
"""

import asyncio
import os
import sys
import traceback

from mcp import Client, MCPError, StdioServerParameters

PROFILES = {
    "vm-run": {"vm_run"},
    "workspace-core": {
        "vm_run",
        "workspace_create",
        "workspace_list",
        "workspace_status",
        "workspace_update",
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


async def main(pyro):
    for part in (profiles, work):
        try:
            await part(pyro)
        except Exception as error:  # a session that breaks is one failure, told with where
            traceback.print_exc()
            check(part.__name__, False, repr(error))


asyncio.run(main(sys.argv[1]))
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
