//! Commands that have the PSP, one inside the other.

use super::*;
use crate::units::PidTgid;

#[test]
fn a_command_that_was_popped_is_there_until_it_is_counted() {
    let mut stack = Stack::default();
    push(&mut stack, 1, 0x2000);
    assert!(stack.popped(PidTgid(1)).is_none(), "it runs");
    assert!(stack.pop(PidTgid(1)).is_some());
    assert!(stack.popped(PidTgid(2)).is_none(), "another thread's");
    assert_eq!(stack.popped(PidTgid(1)).map(|command| command.stack), Some(0x2000));
    stack.counted();
    assert!(stack.popped(PidTgid(1)).is_none());
}

/// A command begins; how many older ones were lost.
fn push(stack: &mut Stack, thread: u64, sp: u64) -> u64 {
    let thread = PidTgid(thread);
    let lost = stack.push(thread, sp);
    stack.begin(stack.depth, thread, sp);
    lost
}

#[test]
fn nested_commands_return_in_order() {
    let mut stack = Stack::default();
    assert_eq!(push(&mut stack, 1, 0x2000), 0);
    assert_eq!(push(&mut stack, 1, 0x1000), 0);
    assert_eq!(stack.pop(PidTgid(1)).map(|c| c.stack), Some(0x1000));
    assert_eq!(stack.pop(PidTgid(1)).map(|c| c.stack), Some(0x2000));
    assert!(stack.pop(PidTgid(1)).is_none());
}

#[test]
fn a_lost_return_is_counted_and_heals() {
    let mut stack = Stack::default();
    push(&mut stack, 1, 0x2000);
    assert_eq!(push(&mut stack, 2, 0x9000), 1, "another thread: the first has left");
    assert_eq!(push(&mut stack, 2, 0x9000), 1, "the same depth: the second has left");
    assert!(stack.pop(PidTgid(1)).is_none(), "a return without its start");
    assert_eq!(stack.pop(PidTgid(2)).map(|c| c.thread.0), Some(2));
}

#[test]
fn a_stack_that_is_too_deep_loses_one_and_goes_on() {
    let mut stack = Stack::default();
    for level in 0..DEPTH as u64 {
        assert_eq!(push(&mut stack, 1, 0x9000 - level), 0);
    }
    assert_eq!(push(&mut stack, 1, 1), 1);
    assert_eq!(stack.depth as usize, DEPTH);
    let innermost_first = [1, 0x9000 - 2, 0x9000 - 1, 0x9000];
    assert_eq!(
        innermost_first.map(|_| stack.pop(PidTgid(1)).map(|c| c.stack)),
        innermost_first.map(Some)
    );
}

/// As many commands as there is room for, each of another thread: thread 1's is the outermost.
fn full() -> Stack {
    let mut stack = Stack::default();
    for (running, thread) in stack.running.iter_mut().zip(1..) {
        running.thread = PidTgid(thread);
    }
    stack.depth = DEPTH as u64;
    stack
}

#[test]
fn a_return_belongs_to_the_innermost_command() {
    let mut stack = full();
    for thread in (1..=DEPTH as u64).rev() {
        assert!(
            stack.pop(PidTgid(thread + 1)).is_none() && stack.pop(PidTgid(thread - 1)).is_none()
        );
        assert_eq!(stack.pop(PidTgid(thread)).map(|command| command.thread.0), Some(thread));
        assert_eq!(stack.popped(PidTgid(thread)).map(|command| command.thread.0), Some(thread));
    }
    assert!(stack.pop(PidTgid(1)).is_none(), "none is left");
}

#[test]
fn a_depth_that_cannot_be_is_nobody_s_return() {
    let mut stack = full();
    stack.depth = DEPTH as u64 + 1;
    assert!((0..=DEPTH as u64 + 1).all(|thread| stack.pop(PidTgid(thread)).is_none()));
}

#[test]
fn the_innermost_command_is_its_thread_s() {
    let mut stack = full();
    for thread in (1..=DEPTH as u64).rev() {
        stack.depth = thread;
        assert_eq!(stack.top_of(PidTgid(thread)).map(|command| command.thread.0), Some(thread));
        assert!(stack.top_of(PidTgid(thread - 1)).is_none(), "another one's");
        assert_eq!(stack.top().map(|command| command.thread.0), Some(thread));
    }
    stack.depth = 0;
    assert!((0..=DEPTH as u64).all(|thread| stack.top_of(PidTgid(thread)).is_none()));
    assert!(stack.top().is_none());
}

#[test]
fn a_nested_command_s_time_is_the_innermost_one_s_that_is_left() {
    let mut stack = full();
    for depth in 1..=DEPTH as u64 {
        stack.depth = depth;
        stack.charge_enclosing(10 * depth);
    }
    assert_eq!(stack.running.map(|command| command.nested), [10, 20, 30, 40]);
    stack.depth = 0;
    stack.charge_enclosing(5);
    assert_eq!(stack.running.map(|command| command.nested), [10, 20, 30, 40], "none encloses it");
}

proptest! {
    #[test]
    fn a_stack_never_leaves_its_bounds(
        calls in proptest::collection::vec((0u64..3, 0u64..6, any::<bool>()), 0..100),
    ) {
        let mut stack = Stack::default();
        for (thread, sp, begins) in calls {
            if begins {
                push(&mut stack, thread, sp);
            } else {
                stack.pop(PidTgid(thread));
            }
            prop_assert!(stack.depth as usize <= DEPTH);
        }
    }
}
