//! What the server answers, without fred's types: so that an error that the server sent can never be taken for one of
//! the connection.

use bytes::Bytes;
use fred::types::Resp3Frame;

/// An answer that is not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Nil,
    /// A whole number.
    Number(i64),
    /// A string of any kind.
    Bytes(Bytes),
    /// A list of any kind.
    Array(Vec<Reply>),
}

impl Reply {
    /// Takes an answer; the error is the server's text.
    pub(crate) fn take(frame: Resp3Frame) -> Result<Self, String> {
        Ok(match frame {
            Resp3Frame::SimpleError { data, .. } => return Err(data.to_string()),
            Resp3Frame::BlobError { data, .. } => return Err(String::from_utf8_lossy(&data).into_owned()),
            Resp3Frame::Null => Self::Nil,
            Resp3Frame::Number { data, .. } => Self::Number(data),
            Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::BlobString { data, .. }
            | Resp3Frame::VerbatimString { data, .. }
            | Resp3Frame::BigNumber { data, .. } => Self::Bytes(data),
            Resp3Frame::Boolean { data, .. } => Self::Number(i64::from(data)),
            Resp3Frame::Double { data, .. } => Self::Bytes(Bytes::from(data.to_string())),
            Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => {
                Self::Array(data.into_iter().map(Self::take).collect::<Result<_, _>>()?)
            }
            Resp3Frame::Set { data, .. } => Self::Array(data.into_iter().map(Self::take).collect::<Result<_, _>>()?),
            // None of our calls is answered by anything else.
            _ => Self::Nil,
        })
    }

    /// What the library tells, if this is its answer to the call with that number.
    pub(crate) fn into_answer_to(self, number: &[u8]) -> Option<Self> {
        let Self::Array(items) = self else { return None };
        let [Self::Bytes(answered), told] = <[Self; 2]>::try_from(items).ok()? else { return None };
        (*answered == *number).then_some(told)
    }

    /// The elements of a list; of anything else none.
    pub(crate) fn into_array(self) -> Vec<Reply> {
        match self {
            Self::Array(items) => items,
            _ => Vec::new(),
        }
    }

    /// A string.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A string that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A whole number, also as a string.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            other => other.text()?.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_only_by_the_call_that_it_is_to() {
        let text = |text: &'static str| Reply::Bytes(Bytes::from_static(text.as_bytes()));
        let answer = Reply::Array(vec![text("17"), Reply::Nil]);
        assert_eq!(answer.clone().into_answer_to(b"17"), Some(Reply::Nil));
        assert_eq!(answer.into_answer_to(b"18"), None);
        let others = [
            Reply::Nil,
            Reply::Number(17),
            text("17"),
            Reply::Array(Vec::new()),
            Reply::Array(vec![text("17")]),
            Reply::Array(vec![text("17"), Reply::Nil, Reply::Nil]),
            Reply::Array(vec![Reply::Number(17), Reply::Nil]),
        ];
        for other in others {
            assert_eq!(other.clone().into_answer_to(b"17"), None, "{other:?}");
        }
    }
}
