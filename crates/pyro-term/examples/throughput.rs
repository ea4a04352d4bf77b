//! Prints how many megabytes a second go through a digest and a terminal: `cargo run --release -p pyro-term --example throughput`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pyro_term::{Digest, Size, Terminal};

/// As much as a pipe gives at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Long enough that the clock and the start do not matter.
const LONG: Duration = Duration::from_millis(700);

fn main() {
    let log: String = (0..20_000)
        .map(|n| format!("2026-01-01T00:00:{:02} INFO worker {} handled request {n} in 12 ms\n", n % 60, n % 7))
        .collect();
    let build: String = (0..20_000).map(|n| format!("  CC      drivers/net/ethernet/vendor/file_{n}.o\n")).collect();
    let errors: String = (0..20_000).map(|n| format!("src/main.rs:{n}: error: no such thing as number {n}\n")).collect();
    let colours: String =
        (0..20_000).map(|n| format!("\x1b[1m\x1b[32m   Compiling\x1b[0m demo-{n} v1.{n}.0 (\x1b[4m/src\x1b[0m)\n")).collect();
    let progress: String =
        (0..20_000).map(|n| format!("\rReceiving objects: {:3}% ({n}/20000), 1.20 MiB | 2.40 MiB/s", n / 200)).collect();
    let redraw: String =
        (0..3_000).map(|n| format!("\x1b[4A{}", format!("\x1b[2K layer {n} [====>   ] 12 MB\n").repeat(4))).collect();
    let cases: &[(&str, Vec<u8>)] = &[
        ("log of a server", log.into_bytes()),
        ("build without colours", build.into_bytes()),
        ("every line an error", errors.into_bytes()),
        ("equal short lines", b"y\n".repeat(500_000)),
        ("empty lines", b"\n".repeat(1_000_000)),
        ("one endless line", vec![b'x'; 1 << 20]),
        ("lines of a kilobyte", format!("{}\n", "x".repeat(1000)).repeat(1000).into_bytes()),
        ("colours", colours.into_bytes()),
        ("progress with CR", progress.into_bytes()),
        ("lines drawn again", redraw.into_bytes()),
        ("escapes only", b"\x1b[m".repeat(300_000)),
        ("up and down, hostile", b"\x1b[64A\x1b[64B\n".repeat(50_000)),
        ("up, then lines, hostile", [&b"\x1b[64A"[..], &b"a\n".repeat(64)].concat().repeat(5_000)),
        ("far columns erased, hostile", b"\r\x1b[255Cx\x1b[1K\x1b[255C\x1b[1K".repeat(20_000)),
        ("far columns and lines, hostile", b"\x1b[999Cx\n".repeat(50_000)),
        ("wide and combining", "日本語e\u{301} \x1b[m\n".repeat(50_000).into_bytes()),
        ("no UTF-8, drawn", [&b"\x1b[m"[..], &[0xff; 200], b"\n"].concat().repeat(5_000)),
    ];
    for (name, bytes) in cases {
        let (started_at, mut rounds) = (Instant::now(), 0u32);
        let mut digest = Digest::new();
        while started_at.elapsed() < LONG {
            bytes.chunks(PIECE_BYTES).for_each(|piece| digest.push(piece));
            rounds += 1;
        }
        let seconds = started_at.elapsed().as_secs_f64();
        let shown_at = Instant::now();
        black_box(digest.show(16_000));
        let shown_us = shown_at.elapsed().as_micros();
        let mut terminal = Terminal::new(Size { columns: 120, rows: 40 });
        let (started_at, mut fed) = (Instant::now(), 0);
        for piece in bytes.chunks(PIECE_BYTES).cycle().take_while(|_| started_at.elapsed() < LONG / 2) {
            terminal.feed(piece);
            fed += piece.len();
        }
        let terminal = fed as f64 / started_at.elapsed().as_secs_f64() / 1e6;
        println!(
            "{name:<32} {:>8.0} MB/s   shown in {shown_us} us   terminal {terminal:.0} MB/s",
            f64::from(rounds) * bytes.len() as f64 / seconds / 1e6
        );
    }
}
