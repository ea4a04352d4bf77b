//! From the table to a classic BPF program: a balanced tree of ranges of system call numbers.
//!
//! Loading costs by the instruction (0.1 ms for a tree of about 140, 0.7 ms for one comparison per call), and the kernel
//! remembers which numbers are always allowed, so the shape of the tree matters for the load only.

use super::Filter;
use super::table::{Case, Condition, DEFAULT, Rule, Verdict, rules, unlisted};

/// `AUDIT_ARCH_*` (linux/audit.h) of this build.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` (linux/audit.h) of this build.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data` (linux/seccomp.h). Both processors are little-endian: the low half of an argument comes first.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const fn offset_low(argument: u8) -> u32 {
    16 + 8 * argument as u32
}

/// Codes of classic BPF (linux/filter.h).
pub mod code {
    #![expect(missing_docs, reason = "names of linux/filter.h")]
    pub const LOAD: u16 = 0x20;
    pub const AND: u16 = 0x54;
    pub const JUMP: u16 = 0x05;
    pub const JUMP_EQUAL: u16 = 0x15;
    pub const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
    pub const JUMP_ANY_BIT: u16 = 0x45;
    pub const RETURN: u16 = 0x06;
}

/// `SECCOMP_RET_ALLOW` and `SECCOMP_RET_ERRNO`.
const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many to skip when a test is true.
    pub if_true: u8,
    /// How many to skip when it is false.
    pub if_false: u8,
    /// Its operand.
    pub operand: u32,
}

/// A filter ready to be loaded.
#[derive(Clone, Debug)]
pub struct Program(Vec<Instruction>);

/// While the tree is built, the place of a block is not known yet.
enum Piece {
    Ready(Instruction),
    JumpToBlock(usize),
}

const fn instruction(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

const fn returning(verdict: Verdict) -> Instruction {
    instruction(
        code::RETURN,
        match verdict {
            Verdict::Allow => RETURN_ALLOW,
            Verdict::Refuse(number) => RETURN_ERRNO | number as u32,
        },
    )
}

/// What a range of numbers leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Verdict(Verdict),
    Block(usize),
}

impl Program {
    /// Builds a filter.
    #[must_use]
    pub fn build(filter: Filter) -> Self {
        let default = unlisted(filter);
        let mut blocks: Vec<Vec<Instruction>> = Vec::new();
        // Where each range begins; it ends where the next one does.
        let mut ranges: Vec<(u32, Target)> = vec![(0, Target::Verdict(default))];
        let mut next = 0;
        for (number, rule) in rules(filter) {
            if number > next {
                push_range(&mut ranges, next, Target::Verdict(default));
            }
            let target = match rule {
                Rule::Always(verdict) => Target::Verdict(verdict),
                Rule::When { cases, otherwise } => {
                    blocks.push(block(cases, otherwise));
                    Target::Block(blocks.len() - 1)
                }
            };
            push_range(&mut ranges, number, target);
            next = number + 1;
        }
        push_range(&mut ranges, next, Target::Verdict(default));

        let mut pieces = vec![
            Piece::Ready(instruction(code::LOAD, OFFSET_ARCHITECTURE)),
            Piece::Ready(Instruction { code: code::JUMP_EQUAL, if_true: 1, if_false: 0, operand: ARCHITECTURE }),
            // A call by another entrance (int 0x80 on x86-64) has other numbers: none of them exists. The x32 ones are
            // above every number of the table.
            Piece::Ready(returning(DEFAULT)),
            Piece::Ready(instruction(code::LOAD, OFFSET_NUMBER)),
        ];
        pieces.extend(tree(&ranges));

        let mut starts = Vec::with_capacity(blocks.len());
        let mut end = pieces.len();
        for block in &blocks {
            starts.push(end);
            end += block.len();
        }
        let mut program: Vec<Instruction> = Vec::with_capacity(end);
        for piece in pieces {
            program.push(match piece {
                Piece::Ready(instruction) => instruction,
                Piece::JumpToBlock(block) => instruction(code::JUMP, distance(program.len(), starts[block])),
            });
        }
        program.extend(blocks.into_iter().flatten());
        Self(program)
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

fn distance(from: usize, to: usize) -> u32 {
    u32::try_from(to - from - 1).expect("a program has at most 4,096 instructions")
}

fn push_range(ranges: &mut Vec<(u32, Target)>, start: u32, target: Target) {
    match ranges.last_mut() {
        Some((at, last)) if *at == start => *last = target,
        Some((_, last)) if *last == target => {}
        _ => ranges.push((start, target)),
    }
}

fn tree(ranges: &[(u32, Target)]) -> Vec<Piece> {
    if let [(_, target)] = ranges {
        return vec![match target {
            Target::Verdict(verdict) => Piece::Ready(returning(*verdict)),
            Target::Block(block) => Piece::JumpToBlock(*block),
        }];
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (start, low, high) = (high[0].0, tree(low), tree(high));
    let mut pieces = Vec::with_capacity(low.len() + high.len() + 2);
    // A conditional jump reaches 255 instructions; an unconditional one reaches everything.
    match u8::try_from(low.len()) {
        Ok(skip) => {
            pieces.push(Piece::Ready(Instruction { code: code::JUMP_GREATER_OR_EQUAL, if_true: skip, if_false: 0, operand: start }))
        }
        Err(_) => {
            pieces.push(Piece::Ready(Instruction { code: code::JUMP_GREATER_OR_EQUAL, if_true: 0, if_false: 1, operand: start }));
            pieces.push(Piece::Ready(instruction(code::JUMP, distance(0, low.len() + 1))));
        }
    }
    pieces.extend(low);
    pieces.extend(high);
    pieces
}

/// Code that looks at arguments and returns.
fn block(cases: &[Case], otherwise: Verdict) -> Vec<Instruction> {
    let mut program = Vec::new();
    for case in cases {
        // From the last condition to the first, so that each knows how far the next case is.
        let mut body = vec![returning(case.verdict)];
        for condition in case.conditions.iter().rev() {
            let fail = u8::try_from(body.len()).expect("a case has a few conditions");
            let mut test = match *condition {
                Condition::Equals { argument, value } => vec![
                    instruction(code::LOAD, offset_low(argument)),
                    Instruction { code: code::JUMP_EQUAL, if_true: 0, if_false: fail, operand: value },
                ],
                Condition::MaskedEquals { argument, mask, value } => vec![
                    instruction(code::LOAD, offset_low(argument)),
                    instruction(code::AND, mask),
                    Instruction { code: code::JUMP_EQUAL, if_true: 0, if_false: fail, operand: value },
                ],
                Condition::AnyBit { argument, bits } => vec![
                    instruction(code::LOAD, offset_low(argument)),
                    Instruction { code: code::JUMP_ANY_BIT, if_true: 0, if_false: fail, operand: bits },
                ],
                Condition::PointerGiven { argument } => vec![
                    instruction(code::LOAD, offset_low(argument)),
                    Instruction { code: code::JUMP_EQUAL, if_true: 0, if_false: 2, operand: 0 },
                    instruction(code::LOAD, offset_low(argument) + 4),
                    Instruction { code: code::JUMP_EQUAL, if_true: fail, if_false: 0, operand: 0 },
                ],
            };
            test.append(&mut body);
            body = test;
        }
        program.append(&mut body);
    }
    program.push(returning(otherwise));
    program
}
