use proptest::prelude::*;

use super::*;

const LIMIT: usize = 4096;

fn field(name: &str, value: &str) -> Field {
    Field {
        name: name.into(),
        value: value.into(),
    }
}

fn decode(decoder: &mut Decoder, hexadecimal: &str) -> Result<Vec<Field>, HpackError> {
    decoder.decode(&hex::decode(hexadecimal).unwrap(), LIMIT)
}

#[test]
fn the_request_examples_of_the_standard_decode_one_after_the_other() {
    // RFC 7541, C.3 (plain) and C.4 (Huffman): three requests over one dynamic table.
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let huffman = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new();
        let first = decode(&mut decoder, blocks[0]).unwrap();
        assert_eq!(
            first,
            [
                field(":method", "GET"),
                field(":scheme", "http"),
                field(":path", "/"),
                field(":authority", "www.example.com")
            ]
        );
        let second = decode(&mut decoder, blocks[1]).unwrap();
        assert_eq!(
            second[3..],
            [
                field(":authority", "www.example.com"),
                field("cache-control", "no-cache")
            ]
        );
        let third = decode(&mut decoder, blocks[2]).unwrap();
        assert_eq!(
            third[3..],
            [
                field(":authority", "www.example.com"),
                field("custom-key", "custom-value")
            ]
        );
        assert_eq!(decoder.size, 164, "as the standard counts");
    }
}

#[test]
fn eviction_follows_the_standard() {
    // RFC 7541, C.5 has a table of 256 octets: the fourth field of the second block evicts the oldest.
    let mut decoder = Decoder::new();
    let first = "3fe101\
         4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54\
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d";
    assert_eq!(decode(&mut decoder, &first.replace(' ', "")).unwrap().len(), 4);
    assert_eq!((decoder.size, decoder.table.len()), (222, 4));
    let second = decode(&mut decoder, "4803333037c1c0bf").unwrap();
    assert_eq!(second[0], field(":status", "307"));
    assert_eq!(second[3], field("location", "https://www.example.com"));
    assert_eq!((decoder.size, decoder.table.len()), (222, 4));
}

#[test]
fn blocks_that_break_the_rules_are_refused() {
    assert!(decode(&mut Decoder::new(), "82").is_ok());
    for (block, error) in [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("7f", HpackError::CutOff),
        ("ffffffffff7f", HpackError::Integer),
        ("4105616263", HpackError::CutOff),
        ("41", HpackError::CutOff),
        ("3fe21f", HpackError::TableSize),
        ("8220", HpackError::TableSize),
    ] {
        assert_eq!(decode(&mut Decoder::new(), block), Err(error), "{block}");
    }
    assert!(decode(&mut Decoder::new(), "3fe11f82").is_ok(), "4096 is allowed");
}

#[test]
fn a_small_block_cannot_grow_into_a_large_list() {
    // One field of 4,000 octets in the table, then index after index of one octet each.
    let mut block = BytesMut::new();
    block.put_slice(&[0x40, 1, b'a']);
    encode_length(3900, &mut block);
    block.put_bytes(b'v', 3900);
    block.put_bytes(0xbe, 10_000);
    assert_eq!(Decoder::new().decode(&block, 1 << 16), Err(HpackError::TooLarge));
    block.truncate(block.len() - 9_990);
    assert_eq!(Decoder::new().decode(&block, 1 << 16).unwrap().len(), 11);
}

fn fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = prop_oneof![
        Just(b":authority".to_vec()),
        Just(b"content-type".to_vec()),
        prop::collection::vec(any::<u8>(), 1..40)
    ];
    prop::collection::vec((name, prop::collection::vec(any::<u8>(), 0..300)), 0..12)
}

proptest! {
    /// Another implementation's encoder, with its dynamic table, over several blocks.
    #[test]
    fn what_another_encoder_wrote_is_read(lists in prop::collection::vec(fields(), 1..6)) {
        let mut encoder = fluke_hpack::Encoder::new();
        let mut decoder = Decoder::new();
        for list in lists {
            let block = encoder.encode(list.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
            let read: Vec<_> =
                decoder.decode(&block, 1 << 16).unwrap().into_iter().map(|f| (f.name, f.value)).collect();
            prop_assert_eq!(read, list);
        }
    }

    #[test]
    fn what_is_written_reads_the_same(list in fields()) {
        let mut block = BytesMut::new();
        for (name, value) in &list {
            encode_literal(name, value, &mut block);
        }
        let mut decoder = Decoder::new();
        let ours = decoder.decode(&block, 1 << 16).unwrap();
        prop_assert_eq!(&ours.into_iter().map(|f| (f.name, f.value)).collect::<Vec<_>>(), &list);
        prop_assert!(decoder.table.is_empty());
        prop_assert_eq!(fluke_hpack::Decoder::new().decode(&block).unwrap(), list);
    }

    /// Where both implementations read a block, they read the same; no input makes ours fail otherwise.
    #[test]
    fn any_octets_are_read_alike_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4)) {
        let mut ours = Decoder::new();
        let mut theirs = fluke_hpack::Decoder::new();
        theirs.set_max_allowed_table_size(4096);
        for block in blocks {
            let Ok(read) = ours.decode(&block, 1 << 16) else { break };
            let Ok(other) = theirs.decode(&block) else { break };
            prop_assert_eq!(read.into_iter().map(|f| (f.name, f.value)).collect::<Vec<_>>(), other);
        }
    }
}
