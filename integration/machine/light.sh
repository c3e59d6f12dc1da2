#!/bin/bash
# Has zfs and zpool of a guest start in half the time. build.sh runs it inside the
# build root. Under emulation the loader was half of what a zfs costs: 22 libraries
# and 36,000 relocations, most of them for what is hardly ever called.
#   libcrypto   one function, for keys made of a passphrase: loaded at its first call
#   Kerberos    secure calls of libtirpc, of which nvlists use the encoding alone: calls abort
# A version that needs other functions of libcrypto keeps it as it is.
# usage: light.sh FOLDER      the guest's libraries
set -euo pipefail
cd "$1"

# wants LIBRARY VERSION: the symbols of that version that it leaves to others.
wants() { nm -D "$1" | sed -n "s/^ *U \(.*\)@$2\$/\1/p"; }

# library NAME VERSION: makes one of the C on its input, whose symbols have that version.
library() {
	echo "$2 { global: *; };" >/tmp/versions
	gcc -x c -O2 -shared -fPIC -Wl,-soname,"$1" -Wl,--version-script=/tmp/versions -o "$1" -
}

# instead OLD NEW FILE: has it load another library, whose name is as long.
instead() { sed -i "s/${1//./\\.}/$2/g" "$3"; }

zfs=$(echo libzfs.so.*)
if [ "$(wants "$zfs" OPENSSL_3.0.0)" = PKCS5_PBKDF2_HMAC_SHA1 ]; then
	library libpbkdf2.so.3 OPENSSL_3.0.0 <<-'END'
		#include <dlfcn.h>
		#include <stdlib.h>
		typedef int derive(const char *, int, const unsigned char *, int, int, int, unsigned char *);
		int PKCS5_PBKDF2_HMAC_SHA1(const char *pass, int passlen, const unsigned char *salt, int saltlen, int iter, int keylen, unsigned char *out)
		{
			void *crypto = dlopen("libcrypto.so.3", RTLD_NOW);
			derive *real = crypto == NULL ? NULL : (derive *)dlsym(crypto, "PKCS5_PBKDF2_HMAC_SHA1");
			if (real == NULL)
				abort();
			return real(pass, passlen, salt, saltlen, iter, keylen, out);
		}
	END
	instead libcrypto.so.3 libpbkdf2.so.3 "$zfs"
fi
{
	echo '#include <stdlib.h>'
	wants libtirpc.so.3 gssapi_krb5_2_MIT | sed '/^GSS_/{s/.*/void *&;/;b}; s/.*/void &(void) { abort(); }/'
} | library libgssapi_none.so.2 gssapi_krb5_2_MIT
instead libgssapi_krb5.so.2 libgssapi_none.so.2 libtirpc.so.3
