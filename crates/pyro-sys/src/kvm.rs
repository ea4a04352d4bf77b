//! Whether `/dev/kvm` runs guest code at the processor's speed, found out by running some and timing it. That the device opens and makes
//! machines says little: on some machines every guest instruction is emulated.
//!
//! It may take for ever on a broken host, so it belongs in a child process that is killed after a while: KVM_RUN ends on
//! SIGKILL. kvm(4) is Documentation/virt/kvm/api.rst; numbers are of linux/kvm.h.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const KVM_GET_API_VERSION: u64 = 0xae00;
const KVM_CREATE_VM: u64 = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_RUN: u64 = 0xae80;
const KVM_SET_REGS: u64 = 0x4090_ae82;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_SET_SREGS: u64 = 0x4138_ae84;
const API_VERSION: i32 = 12;
const EXIT_HLT: u32 = 5;

/// Where the guest's one page is and its code begins: the first page holds the interrupt table of real mode.
const CODE_AT: u64 = 0x1000;
const PAGE_BYTES: usize = 4096;

/// 16-bit code: `dec ecx; jnz -4; hlt`. The count is put into ecx from outside.
const CODE: [u8; 5] = [0x66, 0x49, 0x75, 0xfc, 0xf4];

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    size_bytes: u64,
    user_address: u64,
}

/// `struct kvm_regs`: rax rbx rcx rdx rsi rdi rsp rbp r8…r15 rip rflags.
#[repr(C)]
struct Registers([u64; 18]);

/// `struct kvm_sregs`, whose first member is the segment cs: base (8 bytes), limit (4), selector (2), attributes.
#[repr(C, align(8))]
struct SpecialRegisters([u8; 0x138]);

/// Anonymous or device memory of our own, given back when dropped.
struct Mapping {
    start: NonNull<libc::c_void>,
    size_bytes: usize,
}

impl Mapping {
    fn new(size_bytes: usize, descriptor: Option<RawFd>) -> io::Result<Self> {
        let (flags, descriptor) = match descriptor {
            Some(descriptor) => (libc::MAP_SHARED, descriptor),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: no address is asked for, so no mapping of this process is replaced; the kernel checks size and descriptor.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), size_bytes, libc::PROT_READ | libc::PROT_WRITE, flags, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, size_bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is exactly what `new` mapped; `speed` drops it after the last access and after the machine that could use it.
        unsafe { libc::munmap(self.start.as_ptr(), self.size_bytes) };
    }
}

/// An ioctl whose argument is a number or nothing.
fn control(descriptor: RawFd, request: u64, argument: u64) -> io::Result<i32> {
    // SAFETY: only called with requests that take no pointer, so the kernel writes to no memory of ours but pages mapped for it.
    let result = unsafe { libc::ioctl(descriptor, request as _, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An ioctl that reads or writes one structure.
fn exchange<T>(descriptor: RawFd, request: u64, value: &mut T) -> io::Result<()> {
    // SAFETY: each request used here carries the size of its structure in bits 16 to 29, equal to the size of T (asserted below),
    // and `value` is exclusively borrowed for the call. Every bit pattern is a value of these integer structures.
    let result = unsafe { libc::ioctl(descriptor, request as _, std::ptr::from_mut(value)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const _: () = {
    assert!(size_of::<MemoryRegion>() as u64 == (KVM_SET_USER_MEMORY_REGION >> 16) & 0x3fff);
    assert!(size_of::<Registers>() as u64 == (KVM_SET_REGS >> 16) & 0x3fff);
    assert!(size_of::<SpecialRegisters>() as u64 == (KVM_GET_SREGS >> 16) & 0x3fff);
    assert!(size_of::<SpecialRegisters>() as u64 == (KVM_SET_SREGS >> 16) & 0x3fff);
};

/// How long a guest takes for a loop of so many rounds. Native speed is below two nanoseconds a round.
///
/// # Errors
/// When a machine cannot be made, or the guest ends otherwise than with its last instruction.
pub fn speed(device: &File, rounds: u32) -> io::Result<Duration> {
    let make = |descriptor: RawFd, request| -> io::Result<OwnedFd> {
        let made = control(descriptor, request, 0)?;
        // SAFETY: these requests return a new descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(made) })
    };
    if control(device.as_raw_fd(), KVM_GET_API_VERSION, 0)? != API_VERSION {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let run_bytes = usize::try_from(control(device.as_raw_fd(), KVM_GET_VCPU_MMAP_SIZE, 0)?).map_err(io::Error::other)?;
    if run_bytes < PAGE_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // Dropped in the order opposite to this: the machine before the memory that it uses.
    let memory = Mapping::new(PAGE_BYTES, None)?;
    let machine = make(device.as_raw_fd(), KVM_CREATE_VM)?;
    // SAFETY: the mapping is a whole writable page of ours, larger than CODE, and nothing else refers to it yet.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), memory.start.as_ptr().cast::<u8>(), CODE.len()) };
    let mut region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: CODE_AT,
        size_bytes: PAGE_BYTES as u64,
        user_address: memory.start.as_ptr().addr() as u64,
    };
    exchange(machine.as_raw_fd(), KVM_SET_USER_MEMORY_REGION, &mut region)?;
    let processor = make(machine.as_raw_fd(), KVM_CREATE_VCPU)?;
    let run = Mapping::new(run_bytes, Some(processor.as_raw_fd()))?;
    let mut special = SpecialRegisters([0; 0x138]);
    exchange(processor.as_raw_fd(), KVM_GET_SREGS, &mut special)?;
    special.0[..8].fill(0);
    special.0[12..14].fill(0);
    exchange(processor.as_raw_fd(), KVM_SET_SREGS, &mut special)?;
    let mut registers = Registers([0; 18]);
    registers.0[2] = u64::from(rounds);
    registers.0[16] = CODE_AT;
    registers.0[17] = 2; // bit 1 of rflags is always set
    exchange(processor.as_raw_fd(), KVM_SET_REGS, &mut registers)?;
    let start = Instant::now();
    loop {
        match control(processor.as_raw_fd(), KVM_RUN, 0) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let taken = start.elapsed();
    // SAFETY: the mapping is at least a page and lives until the end of the function; the exit reason is the u32 at offset 8 of struct kvm_run,
    // aligned, and the kernel writes it only during KVM_RUN, which has returned.
    let reason = unsafe { run.start.as_ptr().cast::<u32>().add(2).read_volatile() };
    if reason == EXIT_HLT { Ok(taken) } else { Err(io::Error::other(format!("the guest ended with reason {reason}"))) }
}
