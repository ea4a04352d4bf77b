use pyro_host::environment::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let home = std::path::PathBuf::from(&a[1]);
    let id_mode = match a[3].as_str() { "root" => IdMode::Root, "range" => IdMode::Range, _ => IdMode::Single };
    let options = BuildOptions { rebuild: std::env::var_os("REBUILD").is_some(), includes: a[4..].to_vec(), id_mode, fake_root: None };
    let start = std::time::Instant::now();
    let r = build(&home, &a[2], &options, &mut |p| println!("{:?}", p), &|| false);
    match r { Ok(e) => println!("{e:#?}"), Err(e) => println!("{:?}: {e}\n{:?}", e.kind, e.hint) }
    println!("{:?} swept {:?}", start.elapsed(), sweep(&home));
}
