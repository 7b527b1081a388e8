// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each way to break the rules has its answer.

use super::*;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// What becomes of a chain that begins at descriptor 0, of those that are given.
fn gathered(descriptors: &[(u64, u32, u16, u16)], features: u64) -> Result<(u64, u64), Broken> {
    let memory = memory();
    let driver = ModelDriver::new(4, RINGS, true);
    let mut queue = Queue::new(256);
    driver.set_up(&mut queue);
    queue.indirect = features & INDIRECT_DESCRIPTORS != 0;
    for (index, descriptor) in (0..).zip(descriptors) {
        driver.corrupt(&memory, index, *descriptor);
    }
    driver.claim_head(&memory, 0, 0);
    driver.claim(&memory, 1);
    let mut chain = Chain::new(4);
    let popped = queue.pop(&memory, &mut chain);
    let again = queue.pop(&memory, &mut Chain::new(4));
    assert!(popped.is_ok() || popped == again, "what is broken stays so");
    popped.map(|there| {
        assert!(there);
        (chain.readable(), chain.writable())
    })
}

fn direct(descriptors: &[(u64, u32, u16, u16)]) -> Result<(u64, u64), Broken> {
    gathered(descriptors, INDIRECT_DESCRIPTORS)
}

#[test]
fn a_chain_is_what_its_descriptors_say() {
    assert_eq!(direct(&[(BUFFERS, 5, NEXT, 2), (0, 0, 0, 0), (BUFFERS, 7, WRITE, 9)]), Ok((5, 7)));
    // Of memory that is not there only who uses it is told.
    assert_eq!(direct(&[(0xdead_0000, u32::MAX, WRITE, 0)]), Ok((0, u64::from(u32::MAX))));
}

#[test]
fn loops_are_found() {
    assert_eq!(direct(&[(BUFFERS, 1, NEXT, 0)]), Err(Broken::Loop));
    assert_eq!(direct(&[(BUFFERS, 1, NEXT, 1), (BUFFERS, 1, NEXT, 0)]), Err(Broken::Loop));
    // In an indirect table, which is the queue's own.
    assert_eq!(direct(&[(RINGS + 16, 16, INDIRECT, 0), (BUFFERS, 1, NEXT, 0)]), Err(Broken::Loop));
}

#[test]
fn an_index_beyond_the_table_is_refused() {
    assert_eq!(direct(&[(BUFFERS, 1, NEXT, 4)]), Err(Broken::Index));
    assert_eq!(direct(&[(RINGS + 16, 32, INDIRECT, 0), (BUFFERS, 1, NEXT, 2)]), Err(Broken::Index));
    let memory = memory();
    let (mut queue, driver, mut chain) = queue(4, true);
    driver.claim_head(&memory, 0, 4);
    driver.claim(&memory, 1);
    assert_eq!(queue.pop(&memory, &mut chain), Err(Broken::Index));
}

#[test]
fn buffers_must_have_bytes_and_not_wrap_around() {
    assert_eq!(direct(&[(BUFFERS, 0, 0, 0)]), Err(Broken::Empty));
    assert_eq!(direct(&[(u64::MAX - 3, 5, 0, 0)]), Err(Broken::Memory));
    assert_eq!(direct(&[(u64::MAX - 4, 4, 0, 0)]), Ok((4, 0)));
}

#[test]
fn nothing_is_read_after_what_is_written() {
    assert_eq!(direct(&[(BUFFERS, 1, NEXT | WRITE, 1), (BUFFERS, 1, 0, 0)]), Err(Broken::Order));
}

#[test]
fn an_indirect_table_is_whole_ends_the_chain_and_was_agreed_on() {
    let one = (BUFFERS, 1, 0, 0);
    let table = |length, flags| [(RINGS + 32, length, flags, 1), one, one, one];
    assert_eq!(direct(&table(16, INDIRECT)), Ok((1, 0)));
    assert_eq!(direct(&table(16, INDIRECT | WRITE)), Ok((1, 0)));
    for length in [0, 8, 17, 24] {
        assert_eq!(direct(&table(length, INDIRECT)), Err(Broken::Indirect));
    }
    assert_eq!(direct(&table(16, INDIRECT | NEXT)), Err(Broken::Indirect));
    assert_eq!(gathered(&table(16, INDIRECT), 0), Err(Broken::Indirect));
    assert_eq!(direct(&[(u64::MAX - 15, 32, INDIRECT, 0)]), Err(Broken::Indirect));
    assert_eq!(direct(&[(0xdead_0000, 32, INDIRECT, 0)]), Err(Broken::Memory));
}

#[test]
fn a_table_in_a_table_is_refused() {
    let nested = (RINGS + 48, 16, INDIRECT, 0);
    assert_eq!(
        direct(&[(RINGS + 32, 16, INDIRECT, 0), (0, 0, 0, 0), nested, (BUFFERS, 1, 0, 0)]),
        Err(Broken::Indirect)
    );
}

#[test]
fn a_table_may_come_after_ordinary_buffers() {
    let table = (RINGS + 32, 32, INDIRECT, 0);
    let chain = [(BUFFERS, 3, NEXT, 1), table, (BUFFERS, 4, NEXT, 1), (BUFFERS, 5, WRITE, 0)];
    assert_eq!(direct(&chain), Ok((7, 5)));
}

#[test]
fn a_chain_with_more_buffers_than_there_is_room_for_is_refused() {
    let memory = memory();
    let (mut queue, mut driver, _) = queue(8, true);
    let buffers = vec![readable(BUFFERS, 1); 5];
    driver.offer(&memory, &buffers, true).unwrap();
    driver.publish(&memory);
    assert_eq!(queue.pop(&memory, &mut Chain::new(4)), Err(Broken::Loop));
    assert_eq!(queue.pop(&memory, &mut Chain::new(5)), Ok(true));
}

#[test]
fn no_more_can_be_available_than_the_queue_holds() {
    let memory = memory();
    let (mut queue, driver, mut chain) = queue(4, true);
    for index in [5, 0x8000, 0xffff] {
        driver.claim(&memory, index);
        assert_eq!(queue.pop(&memory, &mut chain), Err(Broken::Overrun));
        assert_eq!(queue.await_notifications(&memory), Err(Broken::Overrun));
    }
}

#[test]
fn rings_that_are_not_in_memory_are_refused() {
    for area in [Area::Descriptors, Area::Driver, Area::Device] {
        let memory = memory();
        let mut driver = ModelDriver::new(4, RINGS, true);
        let (mut queue, mut chain) = (Queue::new(4), Chain::new(4));
        for (each, address) in
            [(Area::Descriptors, RINGS), (Area::Driver, RINGS + 64), (Area::Device, RINGS + 80)]
        {
            queue.set_address(each, if each == area { 0xdead_0000 } else { address });
        }
        queue.enable(driver.features()).unwrap();
        driver.offer(&memory, &[readable(BUFFERS, 1)], false).unwrap();
        driver.publish(&memory);
        let popped = queue.pop(&memory, &mut chain);
        let outcome = popped.and_then(|_| queue.push(&memory, &chain, 0));
        assert_eq!(outcome, Err(Broken::Memory), "{area:?}");
    }
}

#[test]
fn a_buffer_that_is_not_in_memory_breaks_who_uses_it() {
    let memory = memory();
    let (mut queue, mut driver, mut chain) = queue(4, true);
    let beyond = [readable(BUFFERS, 4), readable(BUFFERS + 0xfffe, 4), writable(0xdead_0000, 4)];
    driver.offer(&memory, &beyond, false).unwrap();
    driver.publish(&memory);
    assert_eq!(queue.pop(&memory, &mut chain), Ok(true));
    assert_eq!(chain.read(&memory, &mut [0; 4]), Ok(4));
    assert_eq!(chain.read(&memory, &mut [0; 4]), Err(Broken::Memory));
    assert_eq!(chain.write(&memory, &[0; 4]), Err(Broken::Memory));
}
