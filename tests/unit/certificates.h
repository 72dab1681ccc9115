/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, made when they are wanted: authorities, and those whom they sign, for any
 * names and of any time.  Files are in the test's directory: NAME.pem and NAME.key.  Included after
 * tests/unit/log_fixture.h.
 */
#ifndef TESTS_UNIT_CERTIFICATES_H
#define TESTS_UNIT_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { DAY_S = 86400 };

struct certificate {
	X509 *x509;
	EVP_PKEY *key;
};

static void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static void write_pem(const struct certificate *certificate, const char *name)
{
	char file_name[80];
	FILE *file;

	snprintf(file_name, sizeof(file_name), "%s.pem", name);
	file = fopen(path_of(file_name), "w");
	assert_non_null(file);
	assert_int_equal(PEM_write_X509(file, certificate->x509), 1);
	fclose(file);
	snprintf(file_name, sizeof(file_name), "%s.key", name);
	file = fopen(path_of(file_name), "w");
	assert_non_null(file);
	assert_int_equal(fchmod(fileno(file), 0600), 0);
	assert_int_equal(
		PEM_write_PrivateKey(file, certificate->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
}

/* Makes a certificate of `name`, for `alternatives` ("DNS:a,IP:127.0.0.1"; NULL: it is an
 * authority), valid from and to so many days from now, signed by `issuer` (NULL: by itself). */
static struct certificate make_certificate(const char *name, const char *alternatives,
	int from_days, int to_days, const struct certificate *issuer)
{
	struct certificate made = {X509_new(), EVP_EC_gen("P-256")};
	X509_NAME *subject = X509_get_subject_name(made.x509);
	X509 *by;
	static long int serial;

	assert_non_null(made.key);
	issuer = issuer ? issuer : &made;
	by = issuer->x509;
	X509_set_version(made.x509, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(made.x509), ++serial);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(made.x509, X509_get_subject_name(by));
	X509_gmtime_adj(X509_getm_notBefore(made.x509), (long int)from_days * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(made.x509), (long int)to_days * DAY_S);
	X509_set_pubkey(made.x509, made.key);
	add_extension(made.x509, by, NID_basic_constraints,
		alternatives ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (alternatives && *alternatives)
		add_extension(made.x509, by, NID_subject_alt_name, alternatives);
	assert_true(X509_sign(made.x509, issuer->key, EVP_sha256()) > 0);
	write_pem(&made, name);
	return made;
}

static void free_certificate(struct certificate *certificate)
{
	X509_free(certificate->x509);
	EVP_PKEY_free(certificate->key);
	*certificate = (struct certificate){0};
}

#endif
