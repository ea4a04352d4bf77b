//! Places the files of a shell's integration in a directory and prints how to start it: `integration SHELL DIRECTORY`. For `tests/recordings/record.py`.

use pyro_term::integration::{Shell, rc_for};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(shell), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: integration SHELL DIRECTORY");
        std::process::exit(2);
    };
    let integration = rc_for(Shell::of(&shell), &directory, None);
    std::fs::create_dir_all(&directory)?;
    for (name, content) in &integration.files {
        std::fs::write(format!("{directory}/{name}"), content)?;
    }
    for argument in std::iter::once(&shell).chain(&integration.arguments) {
        // One line each: what has several is joined as fish takes it.
        println!("arg {}", argument.trim_end().replace('\n', ";"));
    }
    for (name, value) in &integration.environment {
        println!("env {name}={value}");
    }
    Ok(())
}
