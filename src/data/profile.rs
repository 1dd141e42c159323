//! The colour profile of a picture.

macro_rules! profiles {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)+) => {
        /// The colour profile (ICC) that a picture carries. It is noted and not applied: pixels keep their numbers.
        ///
        /// The numbers are part of the Index format, the names of the shards': neither is used again.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub enum Profile { $($(#[$doc])* $variant = $code),+ }

        impl Profile {
            /// Every profile.
            pub const ALL: &'static [Profile] = &[$(Profile::$variant),+];
            /// The number stored in the Index.
            pub fn code(self) -> u32 { self as u32 }
            /// The name stored in shards and shown to people.
            pub fn name(self) -> &'static str { match self { $(Profile::$variant => $name),+ } }
        }
    };
}

profiles! {
    /// None, or one that says sRGB.
    #[default]
    Srgb = 0, "srgb";
    /// The primaries of Display P3.
    DisplayP3 = 1, "display-p3";
    /// The primaries of Adobe RGB (1998).
    AdobeRgb = 2, "adobe-rgb";
    /// The primaries of ProPhoto (ROMM) RGB.
    ProPhoto = 3, "prophoto-rgb";
    /// The primaries of ITU-R BT.2020.
    Rec2020 = 4, "rec2020";
    /// Gray with another curve than that of sRGB.
    Gray = 5, "gray";
    /// Four inks.
    Cmyk = 6, "cmyk";
    /// Any other, or one that cannot be read.
    Other = 7, "other";
}

impl Profile {
    /// Of the Index's number; of a number that this build does not know, [`Profile::Other`].
    pub fn from_code(code: u32) -> Self {
        Self::ALL.iter().copied().find(|p| p.code() == code).unwrap_or(Profile::Other)
    }

    /// Of a shard's name; of a name that this build does not know, [`Profile::Other`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL.iter().copied().find(|p| p.name() == name).unwrap_or(Profile::Other)
    }
}
