//! QEMU's command line: the whole list of what a machine has. Nothing is in it by default.

use crate::backend::machine::{Accelerator, Machine};
use crate::backend::namespaces::LINK;

/// Descriptors of QEMU, in the order in which they are given.
const CONTROL: i32 = LINK + 1;
const MEMORY: i32 = LINK + 2;
const ENVIRONMENT: i32 = LINK + 3;
const WRITABLE: i32 = LINK + 4;
const SEED: i32 = LINK + 5;
const STATE: i32 = LINK + 6;
const KERNEL: i32 = LINK + 7;
const ARCHIVE: i32 = LINK + 8;
const KVM: i32 = LINK + 9;
const CONSOLE: i32 = LINK + 10;

/// How QEMU is told to find the state of devices: descriptors that it opens by name are in sets, numbered as the descriptor itself.
pub const STATE_FILE: &str = "file:/dev/fdset/16";

/// What the guest's kernel is told, and its first process after the two dashes:
///
/// - `console=ttyS0 quiet`: what it has to say is read by the outside when a boot fails.
/// - `reboot=t panic=-1`: it ends by a triple fault, which QEMU is told to take for the end.
/// - `mitigations=off`: against processes of the same guest, which are root there anyway.
/// - `tsc=reliable`: nothing to find out about clocks.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet reboot=t panic=-1 mitigations=off tsc=reliable";

/// How a machine begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It boots, and can be kept afterwards.
    Boot,
    /// It goes on where the kept one stands.
    Copy,
}

/// What the list depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    pub start: Start,
    pub accelerator: Accelerator,
    pub vcpu_count: u32,
    pub mem_mib: u64,
    /// How fast the host's processor counts time, for a machine that boots.
    pub counter_khz: Option<u64>,
    /// What is on the writable disk need not survive a crash of the host.
    pub volatile: bool,
}

impl Arguments {
    pub fn new(machine: &Machine, start: Start) -> Self {
        Self {
            start,
            accelerator: machine.accelerator,
            vcpu_count: machine.limits.vcpu_count,
            mem_mib: machine.limits.mem_mib,
            counter_khz: None,
            volatile: machine.volatile,
        }
    }

    fn kernel_command_line(&self) -> String {
        let clock = match (self.accelerator, self.counter_khz) {
            // QEMU shows the guest this processor's counter. How fast it counts a kernel finds out by a timer, which fails on a busy host,
            // and then it waits for ever.
            (Accelerator::Tcg, Some(khz)) => format!(" tsc_early_khz={khz}"),
            // A kernel that runs on KVM is told.
            (Accelerator::Tcg, None) | (Accelerator::Kvm, _) => String::new(),
        };
        format!("{KERNEL_COMMAND_LINE}{clock} -- @machine")
    }

    /// The list, the program first.
    pub fn list(&self) -> Vec<String> {
        let mut list: Vec<String> =
            ["/qemu", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(str::to_owned).to_vec();
        let mut add = |option: &str, value: String| list.extend([option.to_owned(), value]);
        add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned());
        // A stock kernel calibrates its clock by the interval timer, which needs the old interrupt controller.
        add("-machine", "microvm,memory-backend=memory,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off".to_owned());
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Kvm => (format!("kvm,device=/dev/fdset/{KVM}"), "host"),
            // The size of the buffer of translated code, MiB: the largest programs of a build need less. Without the two features kernel and
            // library copy by ordinary instructions, which are translated once, and not by those that repeat, byte for byte.
            Accelerator::Tcg => ("tcg,thread=multi,tb-size=128".to_owned(), "max,-erms,-fsrm"),
        };
        add("-accel", accelerator);
        add("-cpu", processor.to_owned());
        add("-smp", self.vcpu_count.to_string());
        add("-m", format!("{}M", self.mem_mib));
        // A copy maps the file that all share for itself, and has no right to write to it.
        let mapping = match self.start {
            Start::Boot => "share=on",
            Start::Copy => "share=off,readonly=on,rom=off",
        };
        add("-object", format!("memory-backend-file,id=memory,size={}M,mem-path=/proc/self/fd/{MEMORY},{mapping}", self.mem_mib));
        add("-bios", "/qboot.rom".to_owned());
        if self.start == Start::Boot {
            add("-kernel", format!("/proc/self/fd/{KERNEL}"));
            add("-initrd", format!("/proc/self/fd/{ARCHIVE}"));
            add("-append", self.kernel_command_line());
        }
        // What a boot says goes to a socket that takes no more than it holds. What a copy says is nobody's.
        add(
            "-chardev",
            match self.start {
                Start::Boot => format!("socket,id=console,fd={CONSOLE}"),
                Start::Copy => "null,id=console".to_owned(),
            },
        );
        add("-serial", "chardev:console".to_owned());
        add("-chardev", format!("socket,id=control,fd={CONTROL}"));
        add("-mon", "chardev=control,mode=control".to_owned());
        add("-global", "virtio-mmio.force-legacy=false".to_owned());
        add("-chardev", format!("socket,id=agent,fd={LINK}"));
        add("-device", "virtio-serial-device,max_ports=2".to_owned());
        add("-device", "virtserialport,chardev=agent,name=agent".to_owned());
        add("-object", "rng-builtin,id=randomness".to_owned());
        add("-device", "virtio-rng-device,rng=randomness".to_owned());
        let cache = if self.volatile { "unsafe" } else { "writeback" };
        let writable = format!("readonly=off,auto-read-only=off,cache={cache},discard=unmap");
        for (name, descriptor, mode) in
            [("environment", ENVIRONMENT, "readonly=on"), ("writable", WRITABLE, writable.as_str()), ("seed", SEED, "readonly=on")]
        {
            add("-add-fd", format!("fd={descriptor},set={descriptor}"));
            add("-drive", format!("if=none,id={name},file=/dev/fdset/{descriptor},format=raw,file.locking=off,{mode}"));
            add("-device", format!("virtio-blk-device,drive={name},serial={name}"));
        }
        add("-add-fd", format!("fd={STATE},set={STATE}"));
        if self.accelerator == Accelerator::Kvm {
            add("-add-fd", format!("fd={KVM},set={KVM}"));
        }
        if self.start == Start::Copy {
            add("-incoming", "defer".to_owned());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_has_is_this_and_nothing_else() {
        let mut lines = String::new();
        for (start, accelerator, volatile) in
            [(Start::Boot, Accelerator::Tcg, true), (Start::Copy, Accelerator::Tcg, false), (Start::Copy, Accelerator::Kvm, true)]
        {
            let arguments = Arguments { start, accelerator, vcpu_count: 2, mem_mib: 1024, counter_khz: Some(2_400_000), volatile };
            lines += &format!("# {start:?} {accelerator:?}\n");
            for word in arguments.list() {
                lines += &if word.starts_with('-') { format!("\n{word}") } else { format!(" {word}") };
            }
            lines += "\n\n";
        }
        crate::golden::check("qemu-arguments.txt", &lines);
    }

    #[test]
    fn the_state_is_found_at_the_number_of_its_descriptor() {
        assert_eq!(STATE_FILE, format!("file:/dev/fdset/{STATE}"));
    }
}
