use super::program::{ARCHITECTURE, code};
use super::table::{Condition, DEFAULT, FAKE_ROOT, GROUPS, Rule, Verdict, rules};
use super::{Filter, Instruction, Program};

/// What a program answers: an interpreter of the few instructions of classic BPF that filters use, after
/// Documentation/networking/filter.rst.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        8 | 12 => panic!("the filter looks at the instruction pointer"),
        _ => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let Instruction { code, if_true, if_false, operand } = program[at];
        at += 1;
        let skip = |test: bool| usize::from(if test { if_true } else { if_false });
        match code {
            code::LOAD => accumulator = word(operand),
            code::AND => accumulator &= operand,
            code::JUMP => at += operand as usize,
            code::JUMP_EQUAL => at += skip(accumulator == operand),
            code::JUMP_GREATER_OR_EQUAL => at += skip(accumulator >= operand),
            code::JUMP_ANY_BIT => at += skip(accumulator & operand != 0),
            code::RETURN => return operand,
            other => panic!("instruction {other:#x} is none of ours"),
        }
    }
}

fn answer(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Allow => 0x7fff_0000,
        Verdict::Refuse(number) => 0x0005_0000 | u32::from(number),
    }
}

/// The table read line by line: what the program must be equal to.
fn linear(filter: Filter, number: u32, arguments: [u64; 6]) -> Verdict {
    let special = if filter == Filter::FakeRoot { FAKE_ROOT } else { &[] };
    let group = special.iter().chain(GROUPS).find(|group| group.calls.iter().any(|(call, _)| *call == number));
    let holds = |condition: &Condition| match *condition {
        Condition::Equals { argument, value } => arguments[usize::from(argument)] as u32 == value,
        Condition::MaskedEquals { argument, mask, value } => arguments[usize::from(argument)] as u32 & mask == value,
        Condition::AnyBit { argument, bits } => arguments[usize::from(argument)] as u32 & bits != 0,
        Condition::PointerGiven { argument } => arguments[usize::from(argument)] != 0,
    };
    match group.map(|group| group.rule) {
        None => DEFAULT,
        Some(Rule::Always(verdict)) => verdict,
        Some(Rule::When { cases, otherwise }) => {
            cases.iter().find(|case| case.conditions.iter().all(holds)).map_or(otherwise, |case| case.verdict)
        }
    }
}

/// Values that matter for the conditions of the table: each constant, its neighbours, each with bits above 32.
fn values() -> Vec<u64> {
    let mut values = vec![0, 1, 2, u64::MAX, u64::from(u32::MAX), 1 << 32];
    for group in FAKE_ROOT.iter().chain(GROUPS) {
        let Rule::When { cases, .. } = group.rule else { continue };
        for condition in cases.iter().flat_map(|case| case.conditions) {
            match *condition {
                Condition::Equals { value, .. } | Condition::MaskedEquals { value, .. } => values.push(value.into()),
                Condition::AnyBit { bits, .. } => {
                    values.extend((0..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0).map(u64::from))
                }
                Condition::PointerGiven { .. } => {}
            }
        }
    }
    let near: Vec<u64> =
        values.iter().flat_map(|value| [value.wrapping_sub(1), value.wrapping_add(1), value ^ (1 << 32)]).collect();
    values.extend(near);
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn the_tree_answers_as_the_table_for_every_call_and_every_argument_that_matters() {
    let values = values();
    for filter in [Filter::Standard, Filter::FakeRoot] {
        let program = Program::build(filter);
        let program = program.instructions();
        for number in (0..2_048).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0027, 0x7fff_ffff, 0x8000_0000, u32::MAX]) {
            let check = |arguments| {
                let (is, must) =
                    (run(program, ARCHITECTURE, number, arguments), answer(linear(filter, number, arguments)));
                assert_eq!(is, must, "{filter:?}, call {number}, arguments {arguments:x?}");
            };
            check([0; 6]);
            check([u64::MAX; 6]);
            let looks_at_arguments =
                rules(filter).iter().any(|(call, rule)| *call == number && matches!(rule, Rule::When { .. }));
            if !looks_at_arguments {
                continue;
            }
            // No rule looks at more than three arguments, nor at any after the fourth.
            for &one in &values {
                for &other in &values {
                    check([one, other, 0, 0, 0, 0]);
                    check([one, 0, other, 0, 0, 0]);
                    check([0, one, other, 0, 0, 0]);
                    check([0, 0, one, other, 0, 0]);
                    check([one, 1, other, 0, 0, 0]);
                }
            }
        }
    }
}

#[test]
fn calls_of_another_architecture_do_not_exist() {
    let program = Program::build(Filter::Standard);
    // i386, ARM, the other one of ours, RISC-V
    for architecture in [0x4000_0003, 0x4000_0028, 0xc000_003e ^ 0xc000_00b7 ^ ARCHITECTURE, 0xc000_00f3] {
        for number in 0..512 {
            assert_eq!(run(program.instructions(), architecture, number, [0; 6]), answer(DEFAULT));
        }
    }
}

#[test]
fn every_call_is_listed_once_and_every_group_says_why() {
    for groups in [GROUPS, FAKE_ROOT] {
        let mut numbers: Vec<u32> = groups.iter().flat_map(|group| group.calls).map(|(number, _)| *number).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "a call is in two groups");
        assert!(groups.iter().all(|group| group.reason.len() > 20 && !group.calls.is_empty()));
    }
}

#[test]
fn fake_root_allows_nothing_that_the_standard_filter_refuses() {
    let values = values();
    for (number, _) in rules(Filter::FakeRoot) {
        for &value in &values {
            for arguments in [[value, 0, 0, 0, 0, 0], [0, value, 0, 0, 0, 0], [0, 0, value, 0, 0, 0]] {
                if linear(Filter::FakeRoot, number, arguments) == Verdict::Allow {
                    assert_eq!(linear(Filter::Standard, number, arguments), Verdict::Allow, "call {number}");
                }
            }
        }
    }
}

#[test]
fn the_program_is_small_enough_to_load_quickly() {
    // A linear list has more than twice as many and takes seven times as long to load.
    let length = Program::build(Filter::Standard).instructions().len();
    assert!(length < 400, "{length} instructions");
}
