//! How a shell is started so that it marks its commands, without anything of it being inside before.

use pyro_term::integration::{self, Shell};

/// Starts a shell with the files that make it mark its commands: their texts come in variables, because the place for them is inside. Without room for them it
/// marks nothing, and is a shell.
const START: &str = r#"program=$1; shift
command -v "$program" >/dev/null 2>&1 || { [ -n "$PYRO_SHELL_ANY" ] && program=sh && set --; } ||
  { echo "there is no program $program in the workspace" >&2; exit 127; }
unset PYRO_SHELL_ANY
if [ -n "$PYRO_SHELL_FILE" ] && [ "$program" != sh ]; then
  for place in /run /tmp; do
    directory=$(mktemp -d "$place/pyro-shell.XXXXXX" 2>/dev/null) || continue
    printf '%s' "$PYRO_SHELL_TEXT" 2>/dev/null >"$directory/$PYRO_SHELL_FILE" && break
    rm -rf "$directory"
    directory=
  done
  if [ -n "$directory" ]; then
    [ -n "$PYRO_SHELL_ZDOTDIR" ] && { [ -n "$ZDOTDIR" ] && export PYRO_ZDOTDIR="$ZDOTDIR"; export ZDOTDIR="$directory"; }
    for word; do
      shift
      case $word in @DIRECTORY@/*) word=$directory/${word#@DIRECTORY@/};; esac
      set -- "$@" "$word"
    done
  else
    set --
  fi
fi
unset PYRO_SHELL_FILE PYRO_SHELL_TEXT PYRO_SHELL_ZDOTDIR
exec "$program" "$@"
"#;

/// The command and the variables of a shell. `named`: the caller wants this program and no other.
pub fn command(program: &str, named: bool) -> (Vec<String>, Vec<(String, String)>) {
    let integration = integration::rc_for(Shell::of(program), "@DIRECTORY@", None);
    let mut command = ["/bin/sh", "-c", START, "pyro-shell", program].map(str::to_owned).to_vec();
    command.extend(integration.arguments);
    let mut env = Vec::new();
    if !named {
        env.push(("PYRO_SHELL_ANY".to_owned(), "1".to_owned()));
    }
    if let Some((file, text)) = integration.files.into_iter().next() {
        env.push(("PYRO_SHELL_FILE".to_owned(), file.to_owned()));
        env.push(("PYRO_SHELL_TEXT".to_owned(), text.to_owned()));
    }
    if integration.environment.iter().any(|(name, _)| *name == "ZDOTDIR") {
        env.push(("PYRO_SHELL_ZDOTDIR".to_owned(), "1".to_owned()));
    }
    (command, env)
}
