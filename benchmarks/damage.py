"""What damage on the way costs a codec, in PSNR over all files.

Centre crops of photographs are encoded once per codec; copies of every whole file, header included, pass channels
(binary symmetric ones, unless others are named) and are decoded. A file without a picture counts as mid-gray; rates
count whole files. Without --pictures and --codec these are five Kodak crops with and without protection of the
payload, beside the prototype that the design was based on, which protected nothing and counted index bits alone.
With --out the rows stay, and a stopped run goes on; the folder also gets pictures and the files of
`flipproof study run`.
"""

from __future__ import annotations

import argparse

from flipproof import registry
from tables import FIVE, add_options, measure, names, show

CODECS = ("tracks[bpp=0.088]", "tracks[bpp=0.088,protect=none]")
RATES = "0,0.001,0.01,0.03"
PROTOTYPE = "| prototype, no protection | 0.088 | 24.75 | 24.46 | 22.05 | 18.15 |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, RATES)
    parser.add_argument("--codec", action="append", help="codec instead of the two defaults; repeat it")
    options = parser.parse_args()
    codecs = tuple(options.codec or CODECS)
    show(measure(options, {spelling: registry.codec(spelling) for spelling in codecs}))
    if (options.pictures, codecs, options.ber, options.channel) == (FIVE, CODECS, RATES, None):
        print(PROTOTYPE)
    print(f"\nMean PSNR in dB over {len(names(options))} pictures, {options.trials} damaged copies each.")


if __name__ == "__main__":
    main()
