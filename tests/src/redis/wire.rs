//! A plain connection to Redis in RESP2: as much of it as tests need, and nothing of the client that they test.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status or a string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A list.
    List(Vec<Answer>),
    /// Nothing.
    Nil,
    /// An error.
    Error(String),
}

impl Answer {
    /// The text of a status or string; empty for everything else.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The texts of a list; empty for everything else.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            _ => Vec::new(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects. `None`: nobody listens.
    pub async fn open(port: u16) -> Option<Self> {
        Some(Self { stream: BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?) })
    }

    /// Sends a command and returns its answer. `None`: the connection ended.
    pub async fn ask(&mut self, command: &[&str]) -> Option<Answer> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes()).await.ok()?;
        self.answer().await
    }

    /// The next line that the server sends by itself, as it does after `MONITOR`. `None`: the connection ended.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.ok().filter(|length| *length > 0)?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn answer(&mut self) -> Option<Answer> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1)?;
        Some(match kind {
            "+" => Answer::Text(rest.to_owned()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Number(rest.parse().ok()?),
            "$" if rest == "-1" => Answer::Nil,
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().ok()? + 2];
                self.stream.read_exact(&mut text).await.ok()?;
                text.truncate(text.len() - 2);
                Answer::Text(String::from_utf8_lossy(&text).into_owned())
            }
            "*" if rest == "-1" => Answer::Nil,
            "*" => {
                let mut items = Vec::new();
                for _ in 0..rest.parse::<usize>().ok()? {
                    items.push(Box::pin(self.answer()).await?);
                }
                Answer::List(items)
            }
            _ => return None,
        })
    }
}
