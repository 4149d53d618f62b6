//! Which languages a dictionary can write.
//!
//! A manifest may list a language only if the dictionary has every letter of its alphabet, small and capital. The
//! alphabets are those of the languages' own orthographies, with the letters of loan words that are common in print;
//! punctuation is left out (no PP-OCR dictionary has the inverted exclamation mark of Spanish).

use std::collections::HashSet;

use crate::dictionary::Dictionary;

/// Tag of the language (BCP 47) and its letters: small ones, and capitals where they are not the small ones' plain
/// counterpart.
const ALPHABETS: &[(&str, &str)] = &[
    ("af", "abcdefghijklmnopqrstuvwxyzáêéèëïíîôóúû"),
    ("az", "abcçdeəfgğhxıijkqlmnoöprsştuüvyzİ"),
    ("bs", "abcčćdđefghijklmnoprsštuvzž"),
    ("ca", "abcdefghijklmnopqrstuvwxyzàçéèíïóòúü·"),
    ("cs", "aábcčdďeéěfghiíjklmnňoóprřsštťuúůvyýzžqwx"),
    ("cy", "abcdefghijlmnoprstuwyâêîôûŵŷ"),
    ("da", "abcdefghijklmnopqrstuvwxyzæøåé"),
    ("de", "abcdefghijklmnopqrstuvwxyzäöüß"),
    ("el", "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"),
    ("en", "abcdefghijklmnopqrstuvwxyz"),
    ("es", "abcdefghijklmnñopqrstuvwxyzáéíóúü"),
    ("et", "abcdefghijklmnopqrsšzžtuvwõäöüxy"),
    ("eu", "abcdefghijklmnñopqrstuvwxyzç"),
    ("fi", "abcdefghijklmnopqrstuvwxyzåäöšž"),
    ("fil", "abcdefghijklmnñopqrstuvwxyz"),
    ("fo", "aábdðefghiíjklmnoóprstuúvyýæø"),
    ("fr", "abcdefghijklmnopqrstuvwxyzàâæçéèêëîïôœùûüÿ"),
    ("ga", "abcdefghilmnoprstuáéíóú"),
    ("gl", "abcdefghijklmnñopqrstuvwxyzáéíóúü"),
    ("hr", "abcčćdđefghijklmnoprsštuvzž"),
    ("hu", "aábcdeéfghiíjklmnoóöőpqrstuúüűvwxyz"),
    ("id", "abcdefghijklmnopqrstuvwxyz"),
    ("is", "aábdðeéfghiíjklmnoóprstuúvxyýþæö"),
    ("it", "abcdefghijklmnopqrstuvwxyzàèéìíîòóùú"),
    // Kana in full; of the characters from China those that a first-grader writes.
    (
        "ja",
        "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんがぎぐげござじずぜぞだぢづでどばびぶべぼぱぴぷぺぽゃゅょっ\
         アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲンガギグゲゴザジズゼゾダヂヅデドバビブベボパピプペポャュョッー\
         一右雨円王音下火花貝学気九休玉金空月犬見五口校左三山子四糸字耳七車手十出女小上森人水正生青夕石赤千川先早草足村大男竹中虫町天田土二日入年白八百文木本名目立力林六",
    ),
    ("ku", "abcçdeêfghiîjklmnopqrsştuûvwxyz"),
    ("lb", "abcdefghijklmnopqrstuvwxyzäéë"),
    ("lt", "aąbcčdeęėfghiįyjklmnoprsštuųūvzž"),
    ("lv", "aābcčdeēfgģhiījkķlļmnņoprsštuūvzž"),
    ("mi", "aāeēhiīkmnoōprtuūw"),
    ("ms", "abcdefghijklmnopqrstuvwxyz"),
    ("mt", "abċdefġghħijklmnopqrstuvwxżzàèìòù"),
    ("nb", "abcdefghijklmnopqrstuvwxyzæøåéèêóòôà"),
    ("nl", "abcdefghijklmnopqrstuvwxyzáéëïóöúü"),
    ("nn", "abcdefghijklmnopqrstuvwxyzæøåéèêóòôà"),
    ("pl", "aąbcćdeęfghijklłmnńoóprsśtuwyzźżqvx"),
    ("pt", "abcdefghijklmnopqrstuvwxyzáàâãçéêíóôõúü"),
    ("ro", "aăâbcdefghiîjklmnopqrsștțuvwxyz"),
    ("sk", "aáäbcčdďeéfghiíjklĺľmnňoóôprŕsštťuúvyýzžqwx"),
    ("sl", "abcčdefghijklmnoprsštuvzž"),
    ("sq", "abcçdeëfghijklmnopqrstuvxyz"),
    ("sr-Latn", "abcčćdđefghijklmnoprsštuvzž"),
    ("sv", "abcdefghijklmnopqrstuvwxyzåäöé"),
    ("sw", "abcdefghijklmnopqrstuvwxyz"),
    ("tr", "abcçdefgğhıijklmnoöprsştuüvyzİ"),
    ("vi", "aăâbcdđeêghiklmnoôơpqrstuưvxyáàảãạắằẳẵặấầẩẫậéèẻẽẹếềểễệíìỉĩịóòỏõọốồổỗộớờởỡợúùủũụứừửữựýỳỷỹỵ"),
    // The most frequent characters of newspapers; those of `zh-Hant` are of the forms that differ.
    (
        "zh",
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运",
    ),
    (
        "zh-Hant",
        "這個們來為國說時會對於著過發後裡種經麼學現當沒動麵還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話給門東聲員論處義條係氣題爾別變總電數報結務場計資許統區隊決馬書則聽卻達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運",
    ),
];

/// What keeps a dictionary from writing a language.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    #[error("language {tag} is not known here: add its alphabet to languages.rs")]
    Unknown { tag: String },
    #[error("language {tag} cannot be written: the dictionary lacks {letters}; take it from the manifest")]
    Letters { tag: String, letters: String },
}

/// Makes sure that a dictionary has every letter of a language.
///
/// # Errors
/// With the letters that are missing.
pub fn covers(dictionary: &Dictionary, tag: &str) -> Result<(), LanguageError> {
    let alphabet = ALPHABETS.iter().find(|(known, _)| *known == tag);
    let (_, letters) = alphabet.ok_or_else(|| LanguageError::Unknown { tag: tag.to_owned() })?;
    let entries: HashSet<&str> = dictionary.entries().iter().map(String::as_str).collect();
    let lacks = |letter: &char| !entries.contains(letter.encode_utf8(&mut [0; 4]) as &str);
    let mut missing: Vec<char> = letters.chars().chain(capitals(tag, letters)).filter(lacks).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(LanguageError::Letters { tag: tag.to_owned(), letters: missing.into_iter().collect() })
}

/// The capitals of small letters, where a language writes them with one letter.
fn capitals<'letters>(tag: &str, letters: &'letters str) -> impl Iterator<Item = char> + use<'letters> {
    // Turkish and Azerbaijani put the dot on the capital too; their lists name it.
    let dotted = matches!(tag, "tr" | "az");
    letters.chars().filter(move |&letter| !(dotted && letter == 'i')).filter_map(|letter| {
        let mut upper = letter.to_uppercase();
        // ÿ begins no French word, so that its capital is not missed.
        upper.next().filter(|_| upper.next().is_none() && letter != 'ÿ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(letters: &str) -> Dictionary {
        let lines: Vec<String> = letters.chars().map(String::from).collect();
        Dictionary::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn a_language_needs_its_small_letters_and_its_capitals() {
        let small = "abcdefghijklmnopqrstuvwxyz";
        assert_eq!(covers(&dictionary(&format!("{small}{}", small.to_uppercase())), "en"), Ok(()));
        let lacking = covers(&dictionary(&format!("{small}{}", small.to_uppercase().replace('Q', ""))), "en");
        assert_eq!(lacking, Err(LanguageError::Letters { tag: "en".into(), letters: "Q".into() }));
    }

    #[test]
    fn turkish_needs_both_letters_without_and_with_a_dot() {
        let letters = "abcçdefgğhıijklmnoöprsştuüvyzABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ";
        assert_eq!(covers(&dictionary(letters), "tr"), Ok(()));
        let without = letters.replace('İ', "");
        assert!(
            matches!(covers(&dictionary(&without), "tr"), Err(LanguageError::Letters { letters, .. }) if letters == "İ")
        );
    }

    #[test]
    fn german_needs_no_capital_sharp_s() {
        let letters = "abcdefghijklmnopqrstuvwxyzäöüßABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ";
        assert_eq!(covers(&dictionary(letters), "de"), Ok(()));
    }

    #[test]
    fn greek_without_accents_and_final_sigma_is_not_greek() {
        let letters = "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ";
        assert!(matches!(covers(&dictionary(letters), "el"), Err(LanguageError::Letters { .. })));
    }

    #[test]
    fn a_language_without_an_alphabet_here_is_refused() {
        assert_eq!(covers(&dictionary("a"), "hi"), Err(LanguageError::Unknown { tag: "hi".into() }));
    }

    #[test]
    fn every_tag_is_listed_once() {
        let tags: HashSet<_> = ALPHABETS.iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags.len(), ALPHABETS.len());
    }
}
