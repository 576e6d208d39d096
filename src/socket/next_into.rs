use crate::event::Event;

/// What [`Socket::next_into`](crate::Socket::next_into) brought.
#[derive(Clone, Debug)]
pub enum NextInto {
    /// So many bytes, at the beginning of the buffer; never zero.
    Data(usize),
    /// An event other than [`Event::Data`] and [`Event::Text`].
    Event(Event),
}
