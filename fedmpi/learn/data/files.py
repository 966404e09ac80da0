"""The files of the known data sets, and the sha256 of each.

Paths are relative to the data root. CIFAR-10's batches may be stored plain or as
`<name>.xz`, so their sha256 is that of the unpacked content; all others are of the
file as it is stored. The docstring of each reader names the source and the licence.
"""

FASHION_MNIST = {
    "fashion-mnist/t10k-images-idx3-ubyte.gz":
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz":
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "fashion-mnist/train-images-idx3-ubyte.gz":
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "fashion-mnist/train-labels-idx1-ubyte.gz":
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
}

MNIST = {
    "mnist/t10k-images-idx3-ubyte.gz":
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "mnist/t10k-labels-idx1-ubyte.gz":
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "mnist/train-images-idx3-ubyte.gz":
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz":
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
}

QMNIST = {
    "qmnist-labels/qmnist-test-labels-idx2-int.gz":
        "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
    "qmnist-labels/qmnist-train-labels-idx2-int.gz":
        "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
}

CIFAR10 = {
    "cifar-10/cifar-10-batches-py/data_batch_1":
        "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "cifar-10/cifar-10-batches-py/data_batch_2":
        "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
    "cifar-10/cifar-10-batches-py/data_batch_3":
        "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
    "cifar-10/cifar-10-batches-py/data_batch_4":
        "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
    "cifar-10/cifar-10-batches-py/data_batch_5":
        "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
    "cifar-10/cifar-10-batches-py/test_batch":
        "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
}

# Only an MD5 is published.
CIFAR100 = {
    "cifar-100/cifar-100-python/train": "md5:16019d7e3df5f24257cddd939b257f8d",
    "cifar-100/cifar-100-python/test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
}
SVHN = {
    "svhn/train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
    "svhn/test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
    "svhn/extra_32x32.mat": "md5:a93ce644f1a588dc4d68dda5feec44a7",
}

TINY_SHAKESPEARE = {
    "shakespeare/tinyshakespeare/input.txt":
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
}

_PLAYS = {
    "1henryiv": "69e80265106424a7656f404f3c236e1bf513d9e39c71b871c0dfcd043473e405",
    "1henryvi": "7cd9c35e008d40015550ac77ebce372f1fea940a3d6cb0ed29bf74194af1cebd",
    "2henryiv": "bbdaf77467c5c97e6135332d13ef7375fb470cce88cf06741e1221ace3d016e1",
    "2henryvi": "4614f8eee4b97ea46150122926f43404648197f9cb1408a684b7ab4e604d0279",
    "3henryvi": "8b24bb4b26f5e5d0cb7d0d9489fa8635149431625e86f7d5dc3a92067c75e26a",
    "allswell": "94ea943a80448b6a818961290dcf42ffb15d5ffc8d98be8f52351d89f67b4eed",
    "asyoulikeit": "848c6b7fccdb87aeb8d0fb1e461fcc2c6ff5958195f6d4364cdeb9df5acb8ec7",
    "cleopatra": "cb4e5a1e4edb60c73eb7921fa2c4433be4f3e95416cdcfe317f8856638b42742",
    "comedy_errors": "b5283e52606d57f7c09c86049a9965be08cd22fe2ff22d775e39a69addb04a81",
    "coriolanus": "5110948dc73dd582138d7ebf1b8dc0ecb964943d135b3d83f3782344768efb6d",
    "cymbeline": "6aa008979f3875d51caa7e1e3fb541b2565b97c3e4bab6019e34a7020f2dcb94",
    "hamlet": "f677d3c9a7ccb82b5f9ec20f9327fdc6e357e2311366a16ad64d656517d82866",
    "henryv": "4bd0c2a2a3fecdadc82ba335d9070d8f583369a9596174958f1b73a2302a9650",
    "henryviii": "65d22870ab8e8eb7596f0b00a34ddfbdd92257820d871e264c137af032a00573",
    "john": "a95f79d4881e06ee9cc52133dafc7bbf582107cff8d522f03f6c50f08ef47a22",
    "julius_caesar": "1b820bfeedb45303ab059f4c6c1bce3b9d7ce130a2422116aa0bc4581ee031fa",
    "lear": "fe7f83c3a54308b73b3221e928b850352a647c2f1bb555646bf644b873f293bc",
    "lll": "0b159db8f20f4c6c8de92dd2db96457f6affe1e7dd137389dbbdc4970f2deb36",
    "macbeth": "d1489188f81c4f0ff4b8ed8df5154df76a79ccb0ec8328a577a3fbf89bd113b7",
    "measure": "77e3b622779e3829502c8dcdb6b697ae7021675161bb26ccb263339b7d1adb44",
    "merchant": "39cb40b75efbef5b23df3cb984dda2db2914c2d4f77ba72d1978ae463a2e0d00",
    "merry_wives": "658f66c0387579df3ca2d25ed85fcf8851ccaac16deee1a00d9c4dbf9f1e2389",
    "midsummer": "b6a1f8fd3099cfc1f8d4199907ebcc9ad7a673d8a154a08904eda95f18fb547e",
    "much_ado": "edd3c781d777b1a6abca76e15b6c3f4b8a79fd7d9e63b920d16588d53051d1be",
    "othello": "ea95d7b751d67809b2cd8792ad3ca55a36aa8c8d7979165e53c9f34d8036a08d",
    "pericles": "89622d8a3e1d283e5d5061882617f7f71c515dc2552eeb15044cbf7ed5fb0b32",
    "richardii": "b3fa97338c61e9c9e67fcbdcda21c11bea21470aeda672cf6ced8a4b2422d373",
    "richardiii": "4656be3b262028ece67f2ae60efcfcd11aea4401cb58706b994deee09b307b39",
    "romeo_juliet": "0cf9083fdc2ba5f1b1a88700c8429742a3734379038fa4d7698323224d1bc9dd",
    "taming_shrew": "88b2885c14bf5068135b166fc7ace8d1b7e0bbb3a70d2abe0f77abd315a616c8",
    "tempest": "c3ed4bec5e1f07801ac9ef0ee0ae93e892ded38796bda443d51a5c78b76c3440",
    "timon": "3616850447512323a3ae813c1437da9a19457b1f34a549b03ff39c1402c50c11",
    "titus": "80ee75a49de4b4560343fea4e514749a6506f7811ef9e27ab68896ff5bf67d57",
    "troilus_cressida": "78983aa2bbc300416c2dc14edf5eb00e595693cb01bbe1d8de1db91ec719dd05",
    "twelfth_night": "0b738f028caa2541d96838a859c14152d690272970649cb82f428ce1dfcc7106",
    "two_gentlemen": "3cedd433df03b617c9b5d66481b3e778970a3e1306da4a147ba997311c6bfeb0",
    "winters_tale": "09ec2501fc25dc9fad5061513be93ffaaf051fe14f04e59e430da77af745b34b",
}

MOBY = {
    f"shakespeare/moby-plays/{play}/full.html": sha256 for play, sha256 in _PLAYS.items()
}

FILES = {
    "fashion-mnist": FASHION_MNIST,
    "mnist": MNIST,
    "mnist-writers": MNIST | QMNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "svhn": SVHN,
    "shakespeare": MOBY | TINY_SHAKESPEARE,
}

# The sha256 of the content of gzip files, which may be stored unpacked.
UNPACKED = {
    "fashion-mnist/t10k-images-idx3-ubyte.gz":
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz":
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "fashion-mnist/train-images-idx3-ubyte.gz":
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "fashion-mnist/train-labels-idx1-ubyte.gz":
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "mnist/t10k-images-idx3-ubyte.gz":
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "mnist/t10k-labels-idx1-ubyte.gz":
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "mnist/train-images-idx3-ubyte.gz":
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "mnist/train-labels-idx1-ubyte.gz":
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}

# The folder in which torchvision puts the files of each of ours.
TORCHVISION = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar-10/cifar-10-batches-py": "cifar-10-batches-py",
}
