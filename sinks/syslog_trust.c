/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of a syslog sink: see syslog_trust.h.  Called when a connection is opened, on
 * the sink's thread.
 */
#include "sinks/syslog_trust.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { NAME_MAX_SAID = 64, NAMES_MAX_SAID = 100, TIME_TEXT_MAX = 40 };

/* --- What is said of a certificate ------------------------------------------------------------ */

/* Whoever made the certificate chose these bytes. */
static void copy_printable(char *to, size_t size, const unsigned char *from, size_t length)
{
	size_t n = 0;

	for (; n < length && n + 1 < size; n++)
		to[n] = (char)(from[n] >= ' ' && from[n] < 0x7f ? from[n] : '?');
	to[n] = '\0';
}

/* The common name, or all of the name if it has none. */
static void name_text(const X509_NAME *name, char text[NAME_MAX_SAID])
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

	if (at >= 0) {
		const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

		copy_printable(text, NAME_MAX_SAID, ASN1_STRING_get0_data(value),
			(size_t)ASN1_STRING_length(value));
	} else if (!X509_NAME_oneline(name, text, NAME_MAX_SAID)) {
		text[0] = '\0';
	}
}

static void add_name(char text[NAMES_MAX_SAID], const char *name)
{
	size_t used = strlen(text);

	snprintf(text + used, NAMES_MAX_SAID - used, "%s%s", used ? ", " : "", name);
}

static void add_general_name(char text[NAMES_MAX_SAID], const GENERAL_NAME *name)
{
	char one[NAME_MAX_SAID] = "";
	int length = ASN1_STRING_length(name->d.ia5);
	const unsigned char *bytes = ASN1_STRING_get0_data(name->d.ia5);

	if (name->type == GEN_DNS)
		copy_printable(one, sizeof(one), bytes, (size_t)length);
	else if (name->type == GEN_IPADD && (length == 4 || length == 16))
		inet_ntop(length == 4 ? AF_INET : AF_INET6, bytes, one, sizeof(one));
	if (*one)
		add_name(text, one);
}

/* All names and addresses that the certificate is for. */
static void names_text(X509 *certificate, char text[NAMES_MAX_SAID])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	text[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS || name->type == GEN_IPADD)
			add_general_name(text, name);
	}
	GENERAL_NAMES_free(names);
	if (!*text) {
		char subject[NAME_MAX_SAID];

		name_text(X509_get_subject_name(certificate), subject);
		add_name(text, subject);
	}
}

static void time_text(const ASN1_TIME *time, char text[TIME_TEXT_MAX])
{
	struct tm utc;

	if (ASN1_TIME_to_tm(time, &utc) != 1 ||
		strftime(text, TIME_TEXT_MAX, "%Y-%m-%d %H:%M:%S UTC", &utc) == 0)
		snprintf(text, TIME_TEXT_MAX, "a time that cannot be read");
}

static void fingerprint_text(const uint8_t *bytes, char text[2 * SINK_FINGERPRINT_BYTES + 1])
{
	for (size_t i = 0; i < SINK_FINGERPRINT_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static bool fingerprint_of(const X509 *certificate, uint8_t bytes[SINK_FINGERPRINT_BYTES])
{
	unsigned int length = SINK_FINGERPRINT_BYTES;

	return X509_digest(certificate, EVP_sha256(), bytes, &length) == 1 &&
	       length == SINK_FINGERPRINT_BYTES;
}

#define COMPLAIN(trust, ...) snprintf((trust)->complaint, sizeof((trust)->complaint), __VA_ARGS__)

static void complain_of_time(struct syslog_trust *trust, X509 *certificate, bool is_over)
{
	char subject[NAME_MAX_SAID], time[TIME_TEXT_MAX];

	name_text(X509_get_subject_name(certificate), subject);
	time_text(
		is_over ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), time);
	if (is_over)
		COMPLAIN(trust,
			"the certificate '%s' of %s expired at %s; have it renewed there, or set "
			"this host's clock if it is wrong",
			subject, trust->peer, time);
	else
		COMPLAIN(trust,
			"the certificate '%s' of %s is not valid before %s; is this host's clock "
			"right?",
			subject, trust->peer, time);
}

static void complain_of_issuer(struct syslog_trust *trust, X509 *certificate)
{
	char issuer[NAME_MAX_SAID];

	name_text(X509_get_issuer_name(certificate), issuer);
	COMPLAIN(trust,
		"the certificate of %s is signed by '%s', whom %s does not have; give the file "
		"with that authority's certificate as ca=FILE",
		trust->peer, issuer, trust->authority ? trust->authority : "this system's store");
}

static void complain_of_self_signature(struct syslog_trust *trust, X509 *certificate)
{
	char fingerprint[2 * SINK_FINGERPRINT_BYTES + 1] = "";
	uint8_t bytes[SINK_FINGERPRINT_BYTES];

	if (fingerprint_of(certificate, bytes))
		fingerprint_text(bytes, fingerprint);
	COMPLAIN(trust,
		"the certificate of %s is signed by nobody but itself; if it is the right one, set "
		"fingerprint=%s",
		trust->peer, fingerprint);
}

static void complain_of_name(struct syslog_trust *trust, X509 *certificate)
{
	char names[NAMES_MAX_SAID];

	names_text(certificate, names);
	COMPLAIN(trust,
		"the certificate of %s is for %s, not for %.64s; set server-name= if that is right",
		trust->peer, names, trust->name);
}

static void complain(struct syslog_trust *trust, X509_STORE_CTX *check)
{
	X509 *certificate = X509_STORE_CTX_get_current_cert(check);
	int error = X509_STORE_CTX_get_error(check);

	if (!certificate)
		certificate = X509_STORE_CTX_get0_cert(check);
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED: complain_of_time(trust, certificate, true); break;
	case X509_V_ERR_CERT_NOT_YET_VALID: complain_of_time(trust, certificate, false); break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		complain_of_self_signature(trust, certificate);
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		complain_of_issuer(trust, certificate);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH: complain_of_name(trust, certificate); break;
	default:
		COMPLAIN(trust, "the certificate of %s is not good: %s", trust->peer,
			X509_verify_cert_error_string(error));
		break;
	}
}

/* --- The check -------------------------------------------------------------------------------- */

static int check_certificate(int is_good, X509_STORE_CTX *check)
{
	SSL *connection = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct syslog_trust *trust = SSL_get_app_data(connection);

	if (!is_good && !trust->complaint[0])
		complain(trust, check);
	return is_good;
}

/* Instead of the check of signatures and names (RFC 5425, 5.1). */
static int check_fingerprint(X509_STORE_CTX *check, void *trust_)
{
	struct syslog_trust *trust = trust_;
	char text[2 * SINK_FINGERPRINT_BYTES + 1];
	uint8_t bytes[SINK_FINGERPRINT_BYTES];
	const X509 *certificate = X509_STORE_CTX_get0_cert(check);

	if (certificate && fingerprint_of(certificate, bytes)) {
		if (memcmp(bytes, trust->fingerprint, sizeof(bytes)) == 0)
			return 1;
		fingerprint_text(bytes, text);
		COMPLAIN(trust,
			"the certificate of %s has another fingerprint than the option "
			"fingerprint: %s",
			trust->peer, text);
	}
	X509_STORE_CTX_set_error(check, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

bool syslog_trust_apply(struct syslog_trust *trust, SSL *connection)
{
	X509_VERIFY_PARAM *wanted = SSL_get0_param(connection);

	SSL_set_app_data(connection, trust);
	if (trust->has_fingerprint)
		return true;
	SSL_set_verify(connection, SSL_VERIFY_PEER, check_certificate);
	X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (trust->name_is_address)
		return X509_VERIFY_PARAM_set1_ip_asc(wanted, trust->name) == 1;
	return X509_VERIFY_PARAM_set1_host(wanted, trust->name, 0) == 1 &&
	       SSL_set_tlsext_host_name(connection, trust->name) == 1;
}

/* --- The files -------------------------------------------------------------------------------- */

/* Why OpenSSL could not do something: the first thing that went wrong. */
static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text ? text : "for an unknown reason";
}

static int fail_file(const char *option, const char *path, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s=%s cannot be used: %s; it must be in PEM", option, path,
		reason());
	ERR_clear_error();
	return -EBADMSG;
}

/* Says for a missing file what OpenSSL would say in its own way. */
static int check_readable(const char *option, const char *path, char *error, size_t error_size)
{
	if (access(path, R_OK) == 0)
		return 0;
	int failure = -errno;

	snprintf(error, error_size, "%s=%s cannot be read: %s", option, path, strerror(-failure));
	return failure == -EINVAL ? -EIO : failure;
}

static int load_authorities(struct syslog_trust *trust, char *error, size_t error_size)
{
	int failure;

	if (!trust->authority) {
		/* Where the system has none, nobody is trusted, which the check will say. */
		SSL_CTX_set_default_verify_paths(trust->context);
		ERR_clear_error();
		return 0;
	}
	failure = check_readable("ca", trust->authority, error, error_size);
	if (failure == 0 && SSL_CTX_load_verify_file(trust->context, trust->authority) != 1)
		failure = fail_file("ca", trust->authority, error, error_size);
	return failure;
}

/* As strict as PostgreSQL's libpq: nobody but the owner reads it, or the group if root owns it. */
static int check_key_file(int fd, const char *path, char *error, size_t error_size)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return -errno;
	if (!S_ISREG(status.st_mode)) {
		snprintf(error, error_size, "key=%s is not a regular file", path);
		return -EBADMSG;
	}
	if ((status.st_mode &
		    (status.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO)) == 0)
		return 0;
	snprintf(error, error_size,
		"key=%s can be read by others (mode %04o), and so is not used; chmod 600 it, and "
		"have a new key made if others may have it",
		path, status.st_mode & 07777);
	return -EPERM;
}

/* A sink has nobody to ask; that it should have is noted. */
static int no_password(char *buffer, int size, int for_writing, void *was_asked)
{
	(void)buffer;
	(void)size;
	(void)for_writing;
	*(bool *)was_asked = true;
	return -1;
}

static int fail_key(
	const char *path, const char *certificate, bool is_locked, char *error, size_t error_size)
{
	unsigned long int cause = ERR_peek_error();
	int reason_number = ERR_GET_REASON(cause);

	if (is_locked)
		snprintf(error, error_size,
			"key=%s is locked by a password, which nobody can type here; give a key "
			"without one",
			path);
	else if (ERR_GET_LIB(cause) == ERR_LIB_X509 &&
		 (reason_number == X509_R_KEY_VALUES_MISMATCH ||
			 reason_number == X509_R_KEY_TYPE_MISMATCH))
		snprintf(error, error_size, "key=%s is not the key of certificate=%s", path,
			certificate);
	else
		return fail_file("key", path, error, error_size);
	ERR_clear_error();
	return -EBADMSG;
}

/* The certificate is there already: a key of another one is refused. */
static int load_key(struct syslog_trust *trust, const char *path, const char *certificate,
	char *error, size_t error_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	int failure;

	if (!file) {
		failure = -errno;
		snprintf(error, error_size, "key=%s cannot be read: %s", path, strerror(-failure));
		if (fd >= 0)
			close(fd);
		return failure == -EINVAL ? -EIO : failure;
	}
	failure = check_key_file(fd, path, error, error_size);
	if (failure == 0) {
		bool is_locked = false;
		EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, no_password, &is_locked);

		if (!key || SSL_CTX_use_PrivateKey(trust->context, key) != 1)
			failure = fail_key(path, certificate, is_locked, error, error_size);
		EVP_PKEY_free(key);
	}
	fclose(file);
	return failure;
}

/* What this host proves itself with, if the server asks it to. */
static int load_own(struct syslog_trust *trust, const struct sink_settings *settings, char *error,
	size_t error_size)
{
	const char *certificate = sink_setting_text(settings, "certificate");
	const char *key = sink_setting_text(settings, "key");
	int failure;

	if (!certificate)
		return 0;
	failure = check_readable("certificate", certificate, error, error_size);
	if (failure == 0 && SSL_CTX_use_certificate_chain_file(trust->context, certificate) != 1)
		failure = fail_file("certificate", certificate, error, error_size);
	if (failure == 0)
		failure = load_key(trust, key, certificate, error, error_size);
	return failure;
}

/* Whom the certificate must be for. */
static void choose_name(struct syslog_trust *trust, const struct sink_settings *settings)
{
	const char *name = sink_setting_text(settings, "server-name");
	char port[SINK_PORT_MAX];
	struct in6_addr address;

	if (name)
		snprintf(trust->name, sizeof(trust->name), "%s", name);
	else
		sink_endpoint_split(sink_setting_text(settings, "server"), trust->name, port);
	trust->name_is_address = inet_pton(AF_INET, trust->name, &address) == 1 ||
				 inet_pton(AF_INET6, trust->name, &address) == 1;
}

int syslog_trust_load(struct syslog_trust *trust, const struct sink_settings *settings,
	const char *peer, char *error, size_t error_size)
{
	const char *fingerprint = sink_setting_text(settings, "fingerprint");
	int failure;

	*trust = (struct syslog_trust){.peer = peer,
		.authority = sink_setting_text(settings, "ca"),
		.has_fingerprint = fingerprint != NULL};
	ERR_clear_error();
	trust->context = SSL_CTX_new(TLS_client_method());
	if (!trust->context || SSL_CTX_set_min_proto_version(trust->context, TLS1_2_VERSION) != 1) {
		snprintf(error, error_size, "TLS cannot be begun: %s", reason());
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_CTX_set_options(trust->context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_verify(trust->context, SSL_VERIFY_PEER, NULL);
	choose_name(trust, settings);
	if (fingerprint) {
		sink_fingerprint_parse(fingerprint, trust->fingerprint);
		SSL_CTX_set_cert_verify_callback(trust->context, check_fingerprint, trust);
	}
	failure = fingerprint ? 0 : load_authorities(trust, error, error_size);
	return failure ? failure : load_own(trust, settings, error, error_size);
}

void syslog_trust_unload(struct syslog_trust *trust)
{
	SSL_CTX_free(trust->context);
	trust->context = NULL;
}
