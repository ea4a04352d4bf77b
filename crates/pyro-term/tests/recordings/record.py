#!/usr/bin/env python3
"""Recordings of real programs on a terminal, and what tmux makes of them.

  record.py record [NAME ...]   makes recordings anew (needs the programs: git, cargo, npm, pip, vim, less, top, python3, zsh, fish)
  record.py random FOLDER COUNT  makes up streams and asks tmux; `RECORDINGS=FOLDER cargo test -p pyro-term screens` compares
  record.py expect [NAME ...]   writes NAME.screen: what `tmux capture-pane -p` shows when it is given the bytes of NAME.term

A recording is the bytes that came from a pseudo-terminal. recordings.txt has a line for each: its name, the size, and sizes that it changes to, each after so
many bytes. Everything happens in /tmp/demo, with an environment that names nothing of the machine.
"""
import fcntl, http.server, os, pathlib, pty, random, re, select, shutil, signal, struct, subprocess, sys, tempfile, termios, threading, time, zipfile

HERE = pathlib.Path(__file__).resolve().parent
DEMO = pathlib.Path("/tmp/demo")
ENV = {
    "HOME": str(DEMO), "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], "PS1": "$ ", "SHELL": "/bin/sh",
    "CARGO_HOME": os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")), "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup")),
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com", "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "NPM_CONFIG_USERCONFIG": "/dev/null", "npm_config_update_notifier": "false",
}


def size(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def record(argv, columns, rows, steps=(), limit_s=60):
    """Runs argv on a terminal; steps are (text to wait for, what to send or a size to change to). Returns the bytes and the changes of size."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(DEMO)
        os.execvpe(argv[0], argv, ENV)
    size(fd, columns, rows)
    out, seen, changes, steps = b"", 0, [], list(steps)
    last, end = time.time(), time.time() + limit_s
    while time.time() < end:
        ready, _, _ = select.select([fd], [], [], 0.1)
        if ready:
            try:
                got = os.read(fd, 65536)
            except OSError:
                break
            if not got:
                break
            out, last = out + got, time.time()
            # A terminal answers: fish waits for it.
            if b"\x1b[c" in got or b"\x1b[0c" in got:
                os.write(fd, b"\x1b[?1;2c")
            if b"\x1b[6n" in got:
                os.write(fd, b"\x1b[1;1R")
        elif steps and time.time() - last > 0.4 and re.search(steps[0][0], out[seen:]):
            what = steps.pop(0)[1]
            seen = len(out)
            if isinstance(what, tuple):
                size(fd, *what)
                changes.append((len(out), what))
            elif what == b"KILL":
                os.kill(pid, signal.SIGKILL)
                break
            else:
                os.write(fd, what)
            last = time.time()
    os.close(fd)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)
    return out, changes


def shell(script):
    subprocess.run(["bash", "-ec", script], cwd=DEMO, env=ENV, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def demo():
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()


def git():
    shell("git init -q a; cd a; for i in $(seq 3000); do echo file $i > f$i.txt; done; git add .; git commit -qm one")
    return record(["git", "clone", "--progress", "file:///tmp/demo/a", "copy"], 80, 24)


def cargo():
    for name in ["alpha", "beta", "gamma", "delta", "demo"]:
        shell(f"cargo new -q --lib {name}" if name != "demo" else "cargo new -q demo")
    with open(DEMO / "demo/Cargo.toml", "a") as manifest:
        manifest.write("".join(f'{name} = {{ path = "../{name}" }}\n' for name in ["alpha", "beta", "gamma", "delta"]))
    (DEMO / "demo/src/main.rs").write_text('fn main() {\n    let x = 1;\n    println!("Hello");\n}\n')
    return record(["cargo", "build", "--offline", "--manifest-path", "/tmp/demo/demo/Cargo.toml"], 80, 24)


class Slow(http.server.SimpleHTTPRequestHandler):
    """Serves files below the current directory so slowly that progress is shown."""

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        while piece := source.read(200_000):
            outputfile.write(piece)
            time.sleep(0.06)


def record_with_server(argv, folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8765), lambda *arguments: Slow(*arguments, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return record(argv, 80, 24)
    finally:
        server.shutdown()
        server.server_close()


def pip():
    folder = DEMO / "index/demo"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "demo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo/data.bin", os.urandom(6_000_000))
        wheel.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        wheel.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("demo-1.0.dist-info/RECORD", "")
    return record_with_server(["pip", "download", "--index-url", "http://127.0.0.1:8765", "demo"], DEMO / "index")


def npm():
    (DEMO / "pkg").mkdir()
    (DEMO / "app").mkdir()
    (DEMO / "pkg/package.json").write_text('{"name":"pkg","version":"1.0.0"}')
    (DEMO / "pkg/data.bin").write_bytes(os.urandom(6_000_000))
    (DEMO / "app/package.json").write_text('{"name":"app","version":"1.0.0"}')
    shell("tar czf pkg.tgz --transform s,^pkg,package, pkg")
    return record_with_server(["npm", "install", "--no-audit", "--no-fund", "--prefix", "/tmp/demo/app", "http://127.0.0.1:8765/pkg.tgz"], DEMO)


def vim():
    (DEMO / "text.txt").write_text("".join(f"line {n} of the text\n" for n in range(1, 101)))
    keys = [b"ggdd", b"oNew text, with \xc3\xa4 and \xe6\x97\xa5\xe6\x9c\xac\x1b", b"10GA end\x1b", b"/line 42\r", b":vsplit\r", b"\x04", b":set number\r", b"ddp"]
    steps = [(b"", key) for key in keys] + [(b"", b"KILL")]
    return record(["vim", "-u", "NONE", "-N", "-i", "NONE", "text.txt"], 80, 24, steps)


def vim_quit():
    steps = [(b"", b"ihello\x1b"), (b"", b":wq\r")]
    return record(["sh", "-c", "echo before; vim -u NONE -N -i NONE new.txt; echo after"], 80, 24, steps)


def less():
    (DEMO / "text.txt").write_text("".join(f"line {n} of the text\n" for n in range(1, 201)))
    return record(["less", "text.txt"], 80, 24, [(b"", b" "), (b"", b" "), (b"", b"b"), (b"", b"/line 150\r"), (b"", b"k"), (b"", b"KILL")])


def top():
    return record(["unshare", "-p", "-f", "--mount-proc", "top", "-n", "3", "-d", "0.3"], 80, 24)


def python():
    steps = [(b">>> ", b"1 + 1\r"), (b">>> ", b"for i in range(3):\r"), (rb"\.\.\. ", b"  print('x' * 90)\r"), (rb"\.\.\. ", b"\r"), (b">>> ", b"abc\x7f\x7f\x1b[D!\r"), (b">>> ", b"KILL")]
    return record(["/usr/bin/python3", "-q"], 80, 24, steps)


def yes():
    return record(["sh", "-c", "yes | head -3000"], 80, 24)


def ls():
    shell("mkdir dir; touch a.tar.gz run.sh plain 'with space'; chmod +x run.sh; ln -s plain link; for i in $(seq 40); do touch file$i; done")
    return record(["ls", "--color=always", "-F"], 80, 24)


def wide():
    text = "日本語のテキスト 한국어 中文\n" * 2 + "e\u0301a\u0308o\u0302 combining\n" + "😀😃 emoji 🎉\n" + "x" * 79 + "日" + "y" * 10 + "\n" + "日" * 45 + "\n"
    text += "Tab\there\tand\tthere\n" + "overwrite 日本\rab\n" + "\x1b[31mred\x1b[0m \x1b[1;4mbold\x1b[m\n" + "cut\x1b[3D\x1b[Kgone\n" + "back\x08\x08X\n"
    (DEMO / "text.txt").write_text(text)
    return record(["cat", "text.txt"], 80, 24)


def resize():
    steps = [(b"\\$ ", b"seq 30; echo " + b"0123456789" * 12 + b"\r"), (b"\\$ ", (50, 24)), (b"", b"echo after\r"), (b"\\$ ", (100, 10)), (b"", b"echo wide\r"), (b"\\$ ", (80, 30)),
             (b"", b"echo high\r"), (b"\\$ ", b"KILL")]
    return record(["sh"], 80, 24, steps)


def region():
    script = r"""
printf '\033[2J\033[H'; for i in $(seq 30); do echo line $i; done
printf '\033[5;15r\033[15;1H'; for i in $(seq 8); do echo inside $i; done
printf '\033[5;1H\033M\033M up\033[r\033[20;1H\033[2L two\033[22;1H\033[1M\033[3;5H\033[4@insert\033[4;3H\033[6P\033[7;1H\033[4Xerased\033[8;1Htail\033[9;10H\033[1K'
printf '\033[10;70Hwraps over the end of the row\033[13;1H\033[?7lno wrap: %s\033[?7h\033[24;1H' "$(printf 'x%.0s' $(seq 90))"
"""
    return record(["bash", "-c", script], 80, 24)


def docker():
    script = r"""for s in 1 2 3 4 5 6 7 8; do [ $s -gt 1 ] && printf '\033[4A'; for l in a b c d; do printf '\033[2K\rlayer %s: %s0%%\r\n' $l $s; done; done; echo done"""
    return record(["bash", "-c", script], 80, 24)


SHELL_STEPS = [(b"\\$ |% |> ", b"echo hello\r"), (b"\\$ |% |> ", b"false\r"), (b"\\$ |% |> ", b"printf 'no end'\r"), (b"\\$ |% |> ", b"echo a; ech\x7fho b\x1b[D\x1b[D\r"),
               (b"\\$ |% |> ", b"seq 40 | tail -3\r"), (b"\\$ |% |> ", b"KILL")]


def shell_with_marks(name):
    """Runs a shell as `cargo run --example integration -- NAME DIRECTORY` says."""
    root = HERE.parents[3]
    lines = subprocess.run(["cargo", "run", "-q", "-p", "pyro-term", "--example", "integration", "--", name, str(DEMO / "marks")], cwd=root, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    argv = [line[4:] for line in lines if line.startswith("arg ")]
    ENV.update(dict(line[4:].split("=", 1) for line in lines if line.startswith("env ")))
    (DEMO / ".zshrc").write_text("PS1='%% '\n")
    (DEMO / ".bashrc").write_text("PS1='$ '\nPROMPT_COMMAND='true'\n")
    (DEMO / ".config/fish").mkdir(parents=True)
    (DEMO / ".config/fish/config.fish").write_text("function fish_prompt; echo -n '> '; end\nset fish_greeting\n")
    return record(argv, 80, 24, SHELL_STEPS)


def bash():
    return shell_with_marks("bash")


def zsh():
    return shell_with_marks("zsh")


def fish():
    return shell_with_marks("fish")


ALL = [git, cargo, pip, npm, vim, vim_quit, less, top, python, yes, ls, wide, resize, region, docker, bash, zsh, fish]


def listed():
    path = HERE / "recordings.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")}


def make(names):
    sizes = listed()
    for make_one in ALL:
        name = make_one.__name__
        if names and name not in names:
            continue
        demo()
        out, changes = make_one()
        if len(out) > 64 * 1024:
            raise SystemExit(f"{name}: {len(out)} bytes are too many")
        (HERE / f"{name}.term").write_bytes(out)
        sizes[name] = ["80x24"] + [f"{at}:{columns}x{rows}" for at, (columns, rows) in changes]
        print(f"{name}: {len(out)} bytes")
    head = "# name, size, and sizes that it changes to, each after so many bytes\n"
    (HERE / "recordings.txt").write_text(head + "".join(f"{name} {' '.join(values)}\n" for name, values in sorted(sizes.items())))


def expect(names):
    def tmux(*arguments):
        # A server of its own for each: one that was killed may not be gone.
        return subprocess.run(["tmux", "-L", f"pyro-term-{name}", "-f", "/dev/null", *arguments], check=True, capture_output=True, text=True).stdout

    for name, (first, *changes) in listed().items():
        if names and name not in names:
            continue
        bytes_all = (HERE / f"{name}.term").read_bytes()
        columns, rows = first.split("x")
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            os.environ.update(LC_ALL="C.UTF-8", TERM="xterm-256color")
            tmux("new-session", "-d", "-x", columns, "-y", rows, f"stty raw -echo; cat {fifo}; sleep 1000")
            tmux("set", "-g", "status", "off")
            tmux("set", "-g", "window-size", "manual")
            tmux("resize-window", "-x", columns, "-y", rows)
            time.sleep(0.3)
            with open(fifo, "wb", buffering=0) as pane:
                at = 0
                for change in changes + [None]:
                    end = int(change.split(":")[0]) if change else len(bytes_all)
                    pane.write(bytes_all[at:end])
                    at = end
                    time.sleep(0.5)
                    if change:
                        columns, rows = change.split(":")[1].split("x")
                        tmux("resize-window", "-x", columns, "-y", rows)
                        time.sleep(0.3)
            screen = tmux("capture-pane", "-p")
            tmux("kill-server")
            (HERE / f"{name}.screen").write_text("".join(line.rstrip() + "\n" for line in screen.splitlines()))


def random_stream(rng):
    """What programs write, in no sensible order. Left out is what xterm and tmux do differently, or what comes to different text in tmux: see README.md."""
    out = []
    for _ in range(rng.randrange(5, 80)):
        kind = rng.randrange(14)
        if kind < 4:
            out.append("".join(rng.choice("abcdefgh ") for _ in range(rng.randrange(1, 40))))
        elif kind < 6:
            out.append("\r\n" * rng.randrange(1, 4))
        elif kind == 6:
            out.append(rng.choice(["日本語", "e\u0301", "\r", "\n", "\t", "한", "\x1b[31m"]))
        elif kind == 7:
            out.append(f"\x1b[{rng.randrange(1, 12)};{rng.randrange(1, 45)}H")
        elif kind < 11:
            out.append(f"\x1b[{rng.randrange(0, 6)}{rng.choice('ABCDEFGdPX@LMST')}")
        elif kind == 11:
            out.append(f"\x1b[{rng.randrange(0, 3)}{rng.choice('KJ')}")
        elif kind == 12:
            top = rng.randrange(1, 9)
            out.append(rng.choice([f"\x1b[{top};{rng.randrange(top + 1, 11)}r", "\x1b[r", "\x1bM", "\x1bD", "\x1bE", "\x1b7", "\x1b8"]))
        else:
            out.append(rng.choice(["\x1b[?1049h", "\x1b[?1049l", "\x1b[4h", "\x1b[4l", "\x1b[?7l", "\x1b[?7h"]))
    return "".join(out).encode()


def random_streams(arguments):
    global HERE
    HERE = pathlib.Path(arguments[0])
    HERE.mkdir(parents=True, exist_ok=True)
    rng = random.Random(int(arguments[2]) if len(arguments) > 2 else 1)
    names = [f"random{number}" for number in range(int(arguments[1]))]
    for name in names:
        (HERE / f"{name}.term").write_bytes(random_stream(rng))
    (HERE / "recordings.txt").write_text("".join(f"{name} 40x10\n" for name in names))
    expect([])


if __name__ == "__main__":
    {"record": make, "expect": expect, "random": random_streams}[sys.argv[1]](sys.argv[2:])
