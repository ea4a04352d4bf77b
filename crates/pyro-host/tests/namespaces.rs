//! smoke
use pyro_host::backend::namespaces::Namespaces;
use pyro_host::backend::*;
use std::io::{Read, Write};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    if a.get(1).map(String::as_str) == Some("@agent") {
        use std::os::fd::OwnedFd;
        use std::os::unix::net::UnixStream;
        let fd: OwnedFd = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/proc/self/fd/3")
            .map(Into::into)
            .unwrap_or_else(|_| std::process::exit(9));
        drop(fd);
        let _ = std::marker::PhantomData::<UnixStream>;
        std::process::exit(9)
    }
    let p = pyro_host::privilege::detect().expect("p");
    eprintln!("{p:?}");
    pyro_host::privilege::enter_self(&p).expect("enter");
    let base = std::env::var("BASE").expect("BASE");
    for d in ["up/root", "work", "staging"] {
        std::fs::create_dir_all(format!("{base}/{d}")).expect("d");
    }
    let ns = Namespaces::new(
        std::env::var("AGENT").map(Into::into).unwrap_or_else(|_| std::env::current_exe().expect("exe")),
        p,
    );
    let l = Launch {
        id: "0123456789ab".into(),
        hostname: "brave".into(),
        mounts: vec![StackMount {
            at: "/".into(),
            lowers: vec![std::env::var("ROOTFS").expect("r").into()],
            upper: format!("{base}/up/root").into(),
            work: format!("{base}/work").into(),
        }],
        staging: format!("{base}/staging").into(),
        volatile: true,
        limits: Limits { mem_mib: 512, vcpu_count: 2, pids_max: 256 },
    };
    let t = std::time::Instant::now();
    match ns.launch(&l) {
        Ok(mut s) => {
            eprintln!("ok {:?}", t.elapsed());
            for g in s.probe() {
                eprintln!("{g:?}");
            }
            let mut l = s.link();
            let _ = l.write_all(b"x");
            let mut v = vec![];
            let _ = l.read_to_end(&mut v);
            eprintln!("{v:?}");
            s.kill().expect("kill");
        }
        Err(e) => eprintln!("err {e} {:?}", e.hint),
    }
}
